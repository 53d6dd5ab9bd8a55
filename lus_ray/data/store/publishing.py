"""A source into a store: written aside first, then made the store in one step.

Shards come to `clips` under names that no shard there had, then `store.json` names those that are
the store, then what it names no more is removed. So a reader meets the store as it was or as it is,
and a write that is interrupted leaves it as it was; what it left of a source is removed by the next
write of that source. The ledger, which no reader of clips asks, is replaced a moment before.
"""

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from lus_ray.data.store.manifest import (
    publish_shards,
    read_published_shards,
    read_sources,
    record_source,
)
from lus_ray.data.store.reading import list_shards, source_of_shard
from lus_ray.errors import StoreError
from lus_ray.storage.files import flocked, fsync, read_text, write_text
from lus_ray.storage.paths import (
    PathOrUri,
    basename,
    describe_error,
    is_remote,
    join,
    list_files,
    open_filesystem,
)

ASIDE = ".writing-"
CHUNK_BYTES = 16 << 20
LEDGER = "ledger.jsonl"
LOCK = ".lock"


@dataclass(frozen=True)
class Staging:
    """Where a source is written; `beside` are the shards that hold the store's other sources."""

    folder: Path
    beside: tuple[PathOrUri, ...] = ()


@contextlib.contextmanager
def stage_source(store: PathOrUri, source: str) -> Iterator[Staging]:
    """A folder to write a source into; on a clean exit what is in it is the store.

    It holds the ledger and the notes of the store. It lies in the folder of the store, or, for a
    store on object storage, in the one for temporary files (`TMPDIR`), and takes as much room as
    the clips of the source.

    Raises:
        StoreError: another ingest writes here, or the storage does not answer or allow it.
    """
    with _alone(store) as parent:
        here = Path(tempfile.mkdtemp(prefix=ASIDE if parent else "lus-ingest-", dir=parent))
        try:
            was = read_published_shards(store)
            beside = tuple(
                shard for shard in list_shards(store) if source_of_shard(shard) != source
            )
            if (text := read_text(join(store, LEDGER))) is not None:
                write_text(here / LEDGER, text)
            for earlier, facts in read_sources(store).items():
                record_source(here, earlier, facts)
            yield Staging(here, beside)
            _publish(here, store, source, beside, was)
        finally:
            shutil.rmtree(here, ignore_errors=True)


@contextlib.contextmanager
def _alone(store: PathOrUri) -> Iterator[Path | None]:
    """The folder of a store, held and without what a killed ingest left; None for a URI.

    Of two that write where nothing locks, the later one is refused as it publishes.
    """
    if is_remote(store):
        yield None
        return
    folder = Path(store)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a") as file:
        try:
            held = flocked(file)
        except BlockingIOError as error:
            raise StoreError(
                f"{store}: another ingest is writing here; wait for it, or end it"
            ) from error
        for left in folder.glob(f"{ASIDE}*") if held else ():
            shutil.rmtree(left, ignore_errors=True)
        yield folder


def _publish(
    here: Path, store: PathOrUri, source: str, beside: Sequence[PathOrUri], was: set[str] | None
) -> None:
    before = list_files(join(store, "clips"), ".parquet")
    if was is None:  # until all is there, the store is what it was: often nothing
        was = set(map(basename, before))
        publish_shards(store, store, was)
    numbers = [int(n) for n in re.findall(r"-(\d+)\.parquet", " ".join(map(basename, before)))]
    number = max(numbers, default=-1)
    written = [Path(shard) for shard in list_shards(here)]
    rewritten = {shard.name for shard in written}
    names = {basename(shard) for shard in beside if basename(shard) not in rewritten}
    for shard in written:
        number += 1
        target = f"{source_of_shard(shard)}-{number:05d}.parquet"
        _bring(shard, join(store, "clips", target))
        names.add(target)
    if read_published_shards(store) != was:
        raise StoreError(f"{store}: another ingest has written here meanwhile; run this one again")
    if (here / LEDGER).exists():
        _bring(here / LEDGER, join(store, LEDGER))
    publish_shards(store, here, names)
    for old in before:  # what another ingest may be uploading right now is no business of this one
        if basename(old) not in names and (basename(old) in was or source_of_shard(old) == source):
            _delete(old)


def _bring(file: Path, target: PathOrUri) -> None:
    """Put a file where it belongs, whole: renamed beside the store, or copied to its storage."""
    if not is_remote(target):
        folder = Path(target).parent
        folder.mkdir(exist_ok=True)
        fsync(file)
        os.replace(file, target)
        fsync(folder)
        return
    try:
        filesystem, path = open_filesystem(target)
        with file.open("rb") as source, filesystem.open_output_stream(path) as sink:
            shutil.copyfileobj(source, sink, CHUNK_BYTES)
    except (pa.ArrowException, OSError) as error:
        raise StoreError(f"{target}: not written: {describe_error(error)}") from error


def _delete(place: PathOrUri) -> None:
    """Remove a shard; one that stays is in no store and goes with the next write."""
    filesystem, path = open_filesystem(place)
    with contextlib.suppress(OSError, pa.ArrowException):
        filesystem.delete_file(path)
