"""A source into a store: written aside first, then made part of the store in one step.

New shards get names that the store never had, then `store.json` names the shards of the store, then
shards that it no longer names are removed. A reader meets the store before or after the write, and
an interrupted write leaves it as it was; the next write of that source removes what is left over.
The ledger, which no reader of clips needs, is replaced just before.
"""

import contextlib
import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from filelock import Timeout

from lus_ray.data.store.manifest import (
    MANIFEST,
    publish_shards,
    read_published_shards,
    read_sources,
    record_source,
)
from lus_ray.data.store.reading import list_shards, source_of_shard
from lus_ray.errors import LusError, StoreError
from lus_ray.storage.files import fsync, read_text, write_text
from lus_ray.storage.lease import LOCK_NAME, acquire_lock
from lus_ray.storage.paths import (
    PathOrUri,
    basename,
    describe_error,
    is_remote,
    join,
    list_files,
    open_filesystem,
)

STAGING_PREFIX = ".writing-"
CHUNK_BYTES = 16 << 20
LEDGER = "ledger.jsonl"


@dataclass(frozen=True)
class Staging:
    """Where a source is written; `beside` are the shards of the other sources of the store."""

    folder: Path
    beside: tuple[PathOrUri, ...] = ()


@contextlib.contextmanager
def stage_source(store: PathOrUri, source: str) -> Iterator[Staging]:
    """A folder to write a source into; a clean exit publishes its content in the store.

    It starts with the ledger and the source records of the store, and needs as much space as the
    clips of the source. For a store on object storage it lies in the folder for temporary files
    (`TMPDIR`), else in the store.

    Raises:
        LusError: the disk is full.
        StoreError: another ingest writes here, or the storage does not answer or allow it.
    """
    with _lock(store) as parent:
        staging = Path(
            tempfile.mkdtemp(prefix=STAGING_PREFIX if parent else "lus-ingest-", dir=parent)
        )
        try:
            published = read_published_shards(store)
            shards = list_shards(store)
            beside = tuple(shard for shard in shards if source_of_shard(shard) != source)
            if (text := read_text(join(store, LEDGER))) is not None:
                write_text(staging / LEDGER, text)
            for earlier, facts in read_sources(store).items():
                record_source(staging, earlier, facts)
            yield Staging(staging, beside)
            _publish(staging, store, source, beside, published)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            place = "set TMPDIR to a larger disk" if parent is None else "free some"
            raise LusError(f"{staging.parent}: no space left for these clips; {place}") from error
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def has_unfinished_ingest(store: PathOrUri) -> bool:
    """Whether an ingest writes into a store on this machine's disks, or was killed there."""
    return not is_remote(store) and any(Path(store).glob(f"{STAGING_PREFIX}*"))


@contextlib.contextmanager
def _lock(store: PathOrUri) -> Iterator[Path | None]:
    """The folder of a store, locked and without what a killed ingest left; None for a URI.

    Where nothing locks, the second of two writers is refused as it publishes.
    """
    if is_remote(store):
        yield None
        return
    folder = Path(store)
    created = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = acquire_lock(folder / LOCK_NAME)
    except Timeout as error:
        raise StoreError(
            f"{store}: another ingest is writing here; wait for it, or end it"
        ) from error
    try:
        for abandoned in folder.glob(f"{STAGING_PREFIX}*") if lock.is_locked else ():
            shutil.rmtree(abandoned, ignore_errors=True)
        yield folder
    finally:
        if created and not (folder / MANIFEST).exists():  # leave nothing of a store that is none
            (folder / LOCK_NAME).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                for path in created:
                    path.rmdir()
        lock.release()


def _publish(
    staging: Path,
    store: PathOrUri,
    source: str,
    beside: Sequence[PathOrUri],
    published: set[str] | None,
) -> None:
    before = list_files(join(store, "clips"), ".parquet")
    if published is None:  # freezes what the store is until all new shards are there
        published = set(map(basename, before))
        publish_shards(store, store, published)
    numbers = re.findall(r"-(\d+)\.parquet", " ".join(map(basename, before)))
    number = max(map(int, numbers), default=-1)
    written = [Path(shard) for shard in list_shards(staging)]
    names = {basename(shard) for shard in beside} - {shard.name for shard in written}
    for shard in written:
        number += 1
        target = f"{source_of_shard(shard)}-{number:05d}.parquet"
        _upload(shard, join(store, "clips", target))
        names.add(target)
    if read_published_shards(store) != published:
        raise StoreError(f"{store}: another ingest has written here meanwhile; run this one again")
    if (staging / LEDGER).exists():
        _upload(staging / LEDGER, join(store, LEDGER))
    publish_shards(store, staging, names)
    for old in before:  # shards that another ingest may be uploading right now stay
        name = basename(old)
        if name not in names and (name in published or source_of_shard(old) == source):
            _delete(old)


def _upload(file: Path, target: PathOrUri) -> None:
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


def _delete(shard: PathOrUri) -> None:
    filesystem, path = open_filesystem(shard)
    with contextlib.suppress(OSError, pa.ArrowException):  # the next write removes it
        filesystem.delete_file(path)
