"""Clips beyond shared memory: resized once to files on each machine's own disk, and mapped there.

    $LUS_CACHE/frames/<key>/<frames or masks>-<size>.raw     uint8, frame after frame
    $LUS_CACHE/frames/<key>/<frames or masks>-<size>.json    clip, first frame, frames

Why: the least that Parquet reads is a clip, so that one frame of a clip costs all of it in every
epoch. A frame of a mapped file costs its own pages, and the system keeps as many as there is
memory for. Cells on one machine share them; the folder may be deleted when nothing runs.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import UInt8

from lus_ray.data import store as stores
from lus_ray.data.loading.batches import InMemory, Size
from lus_ray.data.loading.shared_memory import places, resized
from lus_ray.errors import CellError
from lus_ray.storage.files import flocked, write_atomically, write_text
from lus_ray.storage.paths import PathOrUri, open_filesystem

SPARE_BYTES = 2 << 30
"""What the disk of the cache must have left for others."""
SAY_SECONDS, LOOK_SECONDS = 30.0, 0.5


@dataclass(frozen=True)
class Mapped:
    """The frames and masks of a store, as files that each machine makes of it for itself.

    Other shards in the store, or the same written anew, have another `key`.
    """

    store: str
    key: str
    frames: tuple[Size, ...]
    masks: tuple[Size, ...]


def of(store: PathOrUri, frames: set[Size], masks: set[Size]) -> Mapped:
    """The files that an experiment needs of a store as its shards are now."""
    digest = hashlib.sha256()
    for shard in stores.shards(store):
        filesystem, path = open_filesystem(shard)
        found = filesystem.get_file_info(path)
        digest.update(json.dumps([str(shard), found.size, found.mtime_ns]).encode())
    sizes = (tuple(sorted(each, key=str)) for each in (frames, masks))
    return Mapped(str(store), digest.hexdigest()[:32], *sizes)


def folder(mapped: Mapped) -> Path:
    """Where this machine has the files."""
    cache = os.environ.get("LUS_CACHE") or Path.home() / ".cache" / "lus_ray"
    return Path(cache) / "frames" / mapped.key


def has_room(mapped: Mapped, num_bytes: int) -> bool:
    """Whether the files are here already, or have room on this machine's disk."""
    if all(_ready(mapped, *part) for part in _parts(mapped)):
        return True
    there = next(path for path in (folder(mapped), *folder(mapped).parents) if path.exists())
    return shutil.disk_usage(there).free > num_bytes + SPARE_BYTES


def make(mapped: Mapped, say: Callable[[str], None] = lambda line: None) -> None:
    """Make what this machine does not have yet; of two that come at once, one waits.

    Raises:
        CellError: the disk has no room for it.
        StoreError: the store is damaged.
    """
    missing = [part for part in _parts(mapped) if not _ready(mapped, *part)]
    if not missing:
        return
    folder(mapped).mkdir(parents=True, exist_ok=True)
    with _alone(folder(mapped)):
        index = stores.index(mapped.store)
        for column, size in missing:
            if not _ready(mapped, column, size):
                _write(mapped, index, column, size, say)


def attach(mapped: Mapped) -> InMemory:
    """The frames and masks of all clips, mapped into this process; makes them where needed."""
    make(mapped)
    found: dict[str, dict[Size, Mapping[str, UInt8[np.ndarray, "N H W"]]]] = {
        "frames": {}, "masks": {},
    }  # fmt: skip
    for column, size in _parts(mapped):
        listed = json.loads(_file(mapped, column, size, "json").read_text())
        num_frames = sum(number for _, _, number in listed)
        path, shape = _file(mapped, column, size, "raw"), (num_frames, *size[:2])
        pixels = np.memmap(path, np.uint8, "r", shape=shape) if listed else np.empty(shape, "u1")
        found[column][size] = {clip: pixels[at : at + number] for clip, at, number in listed}
    return InMemory(found["frames"], found["masks"])


def _parts(mapped: Mapped) -> Iterator[tuple[str, Size]]:
    yield from (("frames", size) for size in mapped.frames)
    yield from (("masks", size) for size in mapped.masks)


def _file(mapped: Mapped, column: str, size: Size, kind: str) -> Path:
    return folder(mapped) / f"{column}-{'x'.join(map(str, size))}.{kind}"


def _ready(mapped: Mapped, column: str, size: Size) -> bool:
    """The list is written when all pixels are there."""
    return _file(mapped, column, size, "json").exists()


def _write(
    mapped: Mapped, index: pa.Table, column: str, size: Size, say: Callable[[str], None]
) -> None:
    located = places(index, masked=column == "masks")
    listed: list[tuple[str, int, int]] = []
    num_frames, told = 0, time.monotonic()
    num_threads = len(os.sched_getaffinity(0))
    try:
        with (
            write_atomically(_file(mapped, column, size, "raw")) as aside,
            aside.open("wb") as file,
        ):
            for chunk in resized(mapped.store, located, size, column, num_threads=num_threads):
                for clip, pixels in chunk.items():
                    file.write(np.ascontiguousarray(pixels).data)
                    listed.append((clip, num_frames, len(pixels)))
                    num_frames += len(pixels)
                if time.monotonic() - told > SAY_SECONDS:
                    told = time.monotonic()
                    say(f"{len(listed)} of {len(located)} clips are resized to the disk")
        write_text(_file(mapped, column, size, "json"), json.dumps(listed))
    except OSError as error:
        raise CellError(
            f"{folder(mapped)}: frames could not be kept there ({error.strerror}); make room, or "
            "set LUS_CACHE to a larger disk"
        ) from error


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process of this machine at a time; what a killed one left goes."""
    with (folder / ".lock").open("a") as file:
        while True:
            try:
                held = flocked(file)
                break
            except BlockingIOError:
                time.sleep(LOOK_SECONDS)
        for left in folder.glob(".*.raw.*") if held else ():
            left.unlink(missing_ok=True)
        yield
