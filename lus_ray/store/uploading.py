"""A source into a store on object storage: written here first, then made the store in one step.

Shards go up under names that no shard there had, then `store.json` names those that are the store,
then what it names no more is removed. So a reader meets the store as it was or as it is, and an
upload that is interrupted leaves it as it was; what it left is removed by the next.
"""

import contextlib
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from lus_ray.errors import StoreError
from lus_ray.files import read_text, write_text
from lus_ray.places import Place, below, files, is_remote, name, opened, reason
from lus_ray.store.notes import publish, published
from lus_ray.store.reading import shards, source_of

CHUNK_BYTES = 16 << 20
KEPT = ("ledger.jsonl", "store.json")


@dataclass(frozen=True)
class Working:
    """Where a source is written: the folder of a store, or one of this machine that stands in.

    `beside` are the shards of other sources where they do not lie in the folder.
    """

    folder: Path
    beside: tuple[Place, ...] = ()


@contextlib.contextmanager
def working(store: Place, source: str) -> Iterator[Working]:
    """A folder to write a source into; on a clean exit what is in it is the store.

    For a store on object storage it lies in the folder for temporary files (`TMPDIR`) and takes as
    much room there as the clips of the source.

    Raises:
        StoreError: the storage does not answer, or does not allow what is needed.
    """
    if not is_remote(store):
        yield Working(Path(store))
        return
    here = Path(tempfile.mkdtemp(prefix="lus-ingest-"))
    try:
        beside = tuple(shard for shard in shards(store) if source_of(shard) != source)
        for file in KEPT:
            text = read_text(below(store, file))
            if text is not None:
                write_text(here / file, text)
        was = published(store)
        yield Working(here, beside)
        _upload(here, store, source, beside, was)
    finally:
        shutil.rmtree(here, ignore_errors=True)


def _upload(
    here: Path, store: Place, source: str, beside: Sequence[Place], was: set[str] | None
) -> None:
    before = files(below(store, "clips"), ".parquet")
    if was is None:  # until all is there, the store is what it was: often nothing
        was = set(map(name, before))
        publish(store, store, was)
    numbers = [int(n) for n in re.findall(r"-(\d+)\.parquet", " ".join(map(name, before)))]
    number = max(numbers, default=-1)
    written = [Path(shard) for shard in shards(here)]
    rewritten = {shard.name for shard in written}
    names = {name(shard) for shard in beside if name(shard) not in rewritten}
    for shard in written:
        number += 1
        target = f"{source_of(shard)}-{number:05d}.parquet"
        _copy(shard, below(store, "clips", target))
        names.add(target)
    if published(store) != was:
        raise StoreError(f"{store}: another ingest has written here meanwhile; run this one again")
    if (here / "ledger.jsonl").exists():
        _copy(here / "ledger.jsonl", below(store, "ledger.jsonl"))
    publish(store, here, names)
    for old in before:  # what another ingest may be uploading right now is no business of this one
        if name(old) not in names and (name(old) in was or source_of(old) == source):
            _delete(old)


def _copy(file: Path, uri: Place) -> None:
    try:
        filesystem, target = opened(uri)
        with file.open("rb") as source, filesystem.open_output_stream(target) as sink:
            shutil.copyfileobj(source, sink, CHUNK_BYTES)
    except (pa.ArrowException, OSError) as error:
        raise StoreError(f"{uri}: not written: {reason(error)}") from error


def _delete(uri: Place) -> None:
    """Remove an object; one that stays is in no store and goes with the next write."""
    filesystem, path = opened(uri)
    with contextlib.suppress(OSError, pa.ArrowException):
        filesystem.delete_file(path)
