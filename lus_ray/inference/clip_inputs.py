"""The clips that a command predicts: files, folders, patterns and stores, in a fixed order.

Inputs keep the order in which they are named; within a folder or a pattern, files are sorted by
name, and the clips of a store are in the order of its shards, which reads each row group once. A
clip that is named twice counts once.
"""

import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from lus_ray.data.ingest.source_files import SourceFiles, is_clip_file, walk
from lus_ray.data.store import read_index
from lus_ray.data.store.manifest import MANIFEST
from lus_ray.errors import InputError
from lus_ray.inference.schema import ClipResponse
from lus_ray.storage.paths import PathOrUri, is_remote, join, list_files

STORE_COLUMNS = ("clip", "patient", "sha256")
PATTERN_MARKS = frozenset("*?[")


@dataclass(frozen=True)
class ClipInput:
    """A file, or a clip of a store.

    `clip` is its name in the store, or the path of the file as it was found. `state` changes when
    the file does: its size and modification time, or the SHA-256 of the stored pixels.
    `location` is that of `store.read_located`.
    """

    clip: str
    state: str
    patient: str | None = None
    store: PathOrUri | None = None
    location: tuple[str, str, int, int] | None = None

    @property
    def key(self) -> tuple[str, str]:
        return ("" if self.store is None else str(self.store), self.clip)


@dataclass(frozen=True)
class ClipResult:
    """What the models predict for a clip, or why it could not be read."""

    source: ClipInput
    response: ClipResponse | None = None
    error: str | None = None


@dataclass
class ClipInputs:
    """The clips in order, and the files of folders that are not clips."""

    clips: list[ClipInput] = field(default_factory=list)
    ignored: list[Path] = field(default_factory=list)


def find_inputs(sources: Iterable[PathOrUri]) -> ClipInputs:
    """The clips of files, folders, patterns such as `scans/*.mp4`, and stores.

    A folder with `store.json` is a store, as is every URI. Any other folder is searched for images
    and videos; the stores in it are not read.

    Raises:
        InputError: a source does not exist, or holds no clip.
        StoreError: a store is damaged.
    """
    found, known = ClipInputs(), set()
    for source in sources:
        number = 0
        for item in _expand(source, found.ignored):
            number += 1
            if item.key not in known:
                known.add(item.key)
                found.clips.append(item)
        if not number:
            raise InputError(f"{source}: holds no image and no video; name files or a store")
    return found


def is_store(source: PathOrUri) -> bool:
    return is_remote(source) or (Path(source) / MANIFEST).is_file()


def _expand(source: PathOrUri, ignored: list[Path]) -> Iterator[ClipInput]:
    if is_store(source):
        yield from _clips_of_store(source)
        return
    path = Path(source)
    if path.is_dir():
        yield from _files_of_folder(walk(path), ignored)
    elif path.exists() or path.is_symlink():  # a dangling link has its error in the table
        yield _file_input(path)
    elif PATTERN_MARKS.intersection(str(source)):
        matches = sorted(glob.glob(str(source), recursive=True))
        if not matches:
            raise InputError(f"{source}: no file matches this pattern; correct it")
        for match in matches:
            yield from _expand(Path(match), ignored)
    else:
        raise InputError(
            f"{source}: is neither a file nor a folder; give a clip, a folder or a store"
        )


def _clips_of_store(store: PathOrUri) -> Iterator[ClipInput]:
    if not list_files(join(store, "clips"), ".parquet"):
        raise InputError(f"{store}: no clips here; name a store that 'lus ingest' made")
    table = read_index(store, STORE_COLUMNS)
    names = (*STORE_COLUMNS, "shard", "row_group", "row")
    rows = zip(*(table[name].to_pylist() for name in names), strict=True)
    for clip, patient, sha256, *place in sorted(rows, key=lambda row: row[3:]):
        yield ClipInput(clip, sha256, patient, store, (clip, *place))


def _files_of_folder(found: SourceFiles, ignored: list[Path]) -> Iterator[ClipInput]:
    for path in sorted([*found.files, *found.unreadable]):
        if any(part.startswith(".") for part in path.relative_to(found.root).parts):
            continue
        try:
            is_clip = path in found.unreadable or is_clip_file(path)
        except OSError:
            is_clip = True  # refused with its reason when it is read
        if is_clip:
            yield _file_input(path)
        else:
            ignored.append(path)
    ignored.extend(found.stores)


def _file_input(path: Path) -> ClipInput:
    try:
        status = os.stat(path)
    except OSError:
        return ClipInput(str(path), "")
    modified = datetime.fromtimestamp(status.st_mtime_ns // 1000 / 1e6, UTC)
    return ClipInput(str(path), f"{status.st_size} bytes, {modified.isoformat()}")
