"""Frames beyond shared memory, resized once to files on each machine's disk and mapped there.

    $LUS_CACHE/frames/<key>/<frames or masks>-<size>.raw     uint8, frame after frame
    $LUS_CACHE/frames/<key>/<frames or masks>-<size>.json    clip, first frame, frames

Why: Parquet reads at least a whole clip for one frame; a mapped file reads its own pages. Cells on
one machine share the files; the folder may be deleted when nothing runs.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lus_ray.data import store as stores
from lus_ray.data.loading.batches import FrameSize, InMemory
from lus_ray.data.loading.resizing import locate, resize_clips
from lus_ray.errors import CellError
from lus_ray.storage.child_process import count_cores
from lus_ray.storage.files import write_atomically, write_text
from lus_ray.storage.lease import acquire_lock
from lus_ray.storage.paths import PathOrUri, cache_root, open_filesystem

SPARE_BYTES = 2 << 30
"""Free space that the cache leaves on the disk."""
NOTIFY_SECONDS, POLL_SECONDS = 30.0, 0.5
Notify = Callable[[str], None]


@dataclass(frozen=True)
class MappedFrames:
    """Files that each machine writes for itself; `key` changes with the shards of the store."""

    store: str
    key: str
    frames: tuple[FrameSize, ...]
    masks: tuple[FrameSize, ...]


def plan_files(store: PathOrUri, frames: set[FrameSize], masks: set[FrameSize]) -> MappedFrames:
    """The files that an experiment needs of a store with its current shards."""
    digest = hashlib.sha256()
    for shard in stores.list_shards(store):
        filesystem, path = open_filesystem(shard)
        info = filesystem.get_file_info(path)
        digest.update(json.dumps([str(shard), info.size, info.mtime_ns]).encode())
    sizes = (tuple(sorted(column, key=str)) for column in (frames, masks))
    return MappedFrames(str(store), digest.hexdigest()[:32], *sizes)


def cache_folder(mapped: MappedFrames) -> Path:
    return cache_root() / "frames" / mapped.key


def has_room(mapped: MappedFrames, num_bytes: int) -> bool:
    """Whether the files exist, or fit on this machine's disk."""
    if not _missing(mapped):
        return True
    folder = cache_folder(mapped)
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(existing).free > num_bytes + SPARE_BYTES


def write_missing(mapped: MappedFrames, notify: Notify = lambda line: None) -> None:
    """Write the files that this machine lacks; processes take turns.

    Raises:
        CellError: the disk has no room for it.
        StoreError: the store is damaged.
    """
    if not _missing(mapped):
        return
    cache_folder(mapped).mkdir(parents=True, exist_ok=True)
    with _exclusive(cache_folder(mapped)):
        index = stores.read_index(mapped.store)
        for column, size in _missing(mapped):
            _write(mapped, index, column, size, notify)


def attach(mapped: MappedFrames, notify: Notify = lambda line: None) -> InMemory:
    """The frames and masks of all clips, mapped into this process; writes missing files first."""
    write_missing(mapped, notify)
    arrays: dict[str, Any] = {"frames": {}, "masks": {}}
    for column, size in _parts(mapped):
        clips = json.loads(_file(mapped, column, size, "json").read_text())
        shape = (sum(number for _, _, number in clips), *size[:2])
        path = _file(mapped, column, size, "raw")
        pixels = np.memmap(path, np.uint8, "r", shape=shape) if clips else np.empty(shape, "u1")
        arrays[column][size] = {clip: pixels[at : at + number] for clip, at, number in clips}
    return InMemory(arrays["frames"], arrays["masks"])


def _parts(mapped: MappedFrames) -> Iterator[tuple[str, FrameSize]]:
    yield from (("frames", size) for size in mapped.frames)
    yield from (("masks", size) for size in mapped.masks)


def _missing(mapped: MappedFrames) -> list[tuple[str, FrameSize]]:
    """Columns and sizes without a list, which is written after all pixels."""
    return [part for part in _parts(mapped) if not _file(mapped, *part, "json").exists()]


def _file(mapped: MappedFrames, column: str, size: FrameSize, kind: str) -> Path:
    return cache_folder(mapped) / f"{column}-{'x'.join(map(str, size))}.{kind}"


def _write(
    mapped: MappedFrames, index: pa.Table, column: str, size: FrameSize, notify: Notify
) -> None:
    locations = locate(index, masked=column == "masks")
    clips: list[tuple[str, int, int]] = []
    num_frames, notified = 0, time.monotonic()
    num_cpus = count_cores()
    chunks = resize_clips(mapped.store, locations, size, column, num_threads=num_cpus)
    try:
        with (
            write_atomically(_file(mapped, column, size, "raw")) as aside,
            aside.open("wb") as file,
        ):
            for chunk in chunks:
                for clip, pixels in chunk.items():
                    file.write(np.ascontiguousarray(pixels).data)
                    clips.append((clip, num_frames, len(pixels)))
                    num_frames += len(pixels)
                if time.monotonic() - notified > NOTIFY_SECONDS:
                    notified = time.monotonic()
                    notify(f"resized {len(clips)} of {len(locations)} clips to the disk")
        write_text(_file(mapped, column, size, "json"), json.dumps(clips))
    except OSError as error:
        raise CellError(
            f"{cache_folder(mapped)}: cannot store frames ({error.strerror}); free disk space, or "
            "set LUS_CACHE to a larger disk"
        ) from error


@contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """One process of this machine at a time; removes what a killed one left."""
    lock = acquire_lock(folder / ".lock", timeout_s=-1, poll_s=POLL_SECONDS)
    try:
        for partial_file in folder.glob(".*.raw.*") if lock.is_locked else ():
            partial_file.unlink(missing_ok=True)
        yield
    finally:
        lock.release()
