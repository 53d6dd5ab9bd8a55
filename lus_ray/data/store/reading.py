"""Reading a store: the light columns of all clips, or rows with their pixels.

A store on object storage is read in place: ranges of bytes are fetched on demand, and nothing is
copied to a disk.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lus_ray.clip import LATER_COLUMNS, PIXEL_COLUMNS, SCHEMA, Row, fill_columns, to_rows, to_value
from lus_ray.data.store.manifest import read_published_shards
from lus_ray.errors import StoreError
from lus_ray.storage.files import inspect_parquet, open_parquet
from lus_ray.storage.paths import (
    PathOrUri,
    basename,
    describe_error,
    explain_storage_error,
    is_remote,
    join,
    list_files,
)

LIGHT_COLUMNS = tuple(name for name in SCHEMA.names if name not in PIXEL_COLUMNS)
"""Columns that fit in memory for a whole store."""
NUM_REMOTE = 8
"""Shards on object storage that are indexed at a time."""


def list_shards(store: PathOrUri, source: str | None = None) -> list[PathOrUri]:
    """Shards of a store in order, of one source or of all.

    Raises:
        StoreError: the storage does not answer, or a shard in `store.json` is missing.
    """
    shards = list_files(join(store, "clips"), ".parquet")
    if shards and (names := read_published_shards(store)) is not None:
        if missing := sorted(names - set(map(basename, shards))):
            raise StoreError(f"{store}: shard {missing[0]} is not there; ingest its source again")
        shards = [path for path in shards if basename(path) in names]
    return [path for path in shards if source is None or source_of_shard(path) == source]


def require_shards(store: PathOrUri) -> list[PathOrUri]:
    """The shards of a store; StoreError where there are none."""
    if shards := list_shards(store):
        return shards
    problem = "a file, not a store" if Path(str(store)).is_file() else "no clips here"
    raise StoreError(f"{store}: {problem}; make a store with 'lus ingest SOURCE ROOT STORE'")


def source_of_shard(shard: PathOrUri) -> str:
    return basename(shard).rpartition("-")[0]


class OpenShard:
    """A shard that stays open for all threads; a row group is verified when it is first read.

    Comparing checksums takes a third of the time of reading a clip. Every read has a reader of its
    own, in 50 us: one that reads ranges ahead serves one thread at a time.
    """

    def __init__(self, path: PathOrUri) -> None:
        self.source = inspect_parquet(path)
        _check_columns(path, self.source.new_reader())
        self.verified: set[tuple[int, tuple[str, ...]]] = set()

    def read_row_group(
        self, number: int, columns: Sequence[str], *, use_threads: bool = True
    ) -> pa.Table:
        """These columns of a row group."""
        group = (number, tuple(columns))
        reader = self.source.new_reader(verify=group not in self.verified)
        table = reader.read_row_group(number, columns=list(columns), use_threads=use_threads)
        self.verified.add(group)
        return table


Shard: TypeAlias = pq.ParquetFile | OpenShard


def open_shard(path: PathOrUri, columns: Sequence[str] | None = None) -> pq.ParquetFile:
    """A shard, opened and checked to have the columns of this version or of an earlier one.

    With `columns`, those of a remote shard are fetched at once, and no others can be read. Pages
    that are read are compared with their checksums.

    Raises:
        StoreError: the file is not readable, or has other columns than `SCHEMA`.
    """
    file = open_parquet(path, columns)
    _check_columns(path, file)
    return file


def _check_columns(path: PathOrUri, file: pq.ParquetFile) -> None:
    kinds = {field.name: field.type for field in file.schema_arrow}
    for field in SCHEMA:
        kind = kinds.get(field.name)
        if kind != field.type and not (kind is None and field.name in LATER_COLUMNS):
            raise StoreError(
                f"{path}: column {field.name!r} is {kind}, not {field.type}; "
                "this store has another version or another origin; ingest again"
            )


def read_index(store: PathOrUri, columns: Sequence[str] = LIGHT_COLUMNS) -> pa.Table:
    """The light columns, or some of them, one row per clip, sorted by clip name.

    Three more columns locate the pixels: `shard` (file name), `row_group`, `row`.

    Raises:
        StoreError: there is no store here, or a shard is damaged.
    """
    return index_shards(require_shards(store), columns)


def index_shards(paths: Sequence[PathOrUri], columns: Sequence[str] = LIGHT_COLUMNS) -> pa.Table:
    """The index of these shards, which may be of several stores.

    Raises:
        StoreError: a shard is damaged, or two hold a clip of the same name.
    """
    num_threads = NUM_REMOTE if any(map(is_remote, paths)) else 1
    with ThreadPoolExecutor(num_threads) as threads:
        tables = threads.map(partial(index_shard, columns=columns), paths)
        table = pa.concat_tables(tables).sort_by("clip").combine_chunks()
    twice = pc.filter(table["clip"][1:], pc.equal(table["clip"][1:], table["clip"][:-1]))
    if len(twice):
        raise StoreError(
            f"{paths[0]} and its neighbours: clip {twice[0].as_py()!r} is there twice; remove the "
            "shards that do not belong here, or ingest its source again"
        )
    return table


def index_shard(path: PathOrUri, columns: Sequence[str] = LIGHT_COLUMNS) -> pa.Table:
    """The index of one shard in its own order.

    Raises:
        StoreError: the shard is damaged.
    """
    file = open_shard(path, columns)
    sizes = [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)]
    groups = [number for number, size in enumerate(sizes) for _ in range(size)]
    rows = [row for size in sizes for row in range(size)]
    try:
        # Fewer rows than the footer has are refused here, too.
        return (
            fill_columns(file.read(columns=list(columns)), columns)
            .append_column("shard", pa.array([basename(path)] * len(rows), pa.string()))
            .append_column("row_group", pa.array(groups, pa.int32()))
            .append_column("row", pa.array(rows, pa.int32()))
        )
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error


def locate_clips(store: PathOrUri) -> dict[str, tuple[str, str, int, int]]:
    """Location of every clip (clip, shard, row group, row) by its name, in order of names.

    Raises:
        StoreError: there is no store here, or a shard is damaged.
    """
    table = read_index(store, ("clip",))
    columns = [table[name].to_pylist() for name in ("clip", "shard", "row_group", "row")]
    return {location[0]: location for location in zip(*columns, strict=True)}


def count_frames(store: PathOrUri) -> int:
    """Number of frames of all clips, from the file footers alone."""
    footers = [open_shard(path).metadata for path in list_shards(store)]
    return sum(
        footer.row_group(number).column(_frames_column(footer)).num_values
        for footer in footers
        for number in range(footer.num_row_groups)
    )


def count_frames_by_clip(store: PathOrUri) -> dict[str, int]:
    """Number of frames by clip; only row groups of several clips are read.

    Raises:
        StoreError: a shard is damaged.
    """
    counts: dict[str, int] = {}
    for path in list_shards(store):
        file = open_shard(path)
        try:
            for number in range(file.num_row_groups):
                counts |= _frames_of_group(file, number)
        except (pa.ArrowException, OSError) as error:
            raise _damaged(path, error) from error
    return counts


def read(
    store: PathOrUri, clips: Iterable[str] | None = None, *, columns: Sequence[str] | None = None
) -> Iterator[Row]:
    """Rows of a store with their pixels, in the order requested; all of them if None.

    A row group is decoded once for consecutive clips.

    Raises:
        StoreError: a clip is not in the store.
    """
    locations = locate_clips(store)
    names = list(locations if clips is None else clips)
    if missing := [name for name in names if name not in locations]:
        raise StoreError(
            f"{store}: no clip {missing[0]!r}; 'lus check {store}' describes the store"
        )
    yield from read_located(store, [locations[name] for name in names], columns)


def read_located(
    store: PathOrUri,
    located: Iterable[tuple[str, str, int, int]],
    columns: Sequence[str] | None = None,
    *,
    opened: Callable[[PathOrUri], Shard] = open_shard,
) -> Iterator[Row]:
    """Rows at known locations (clip, shard, row_group, row), as `locate_clips` gives them.

    `frames` and `masks` stay Arrow arrays, which `clip.frames_of` views without a copy. `opened`
    may keep shards open between calls.
    """
    wanted = list(columns or SCHEMA.names)
    files: dict[str, Shard] = {}
    group: tuple[str, int] | None = None
    table = pa.table({})
    for clip, shard, number, row in located:
        if shard not in files:
            files[shard] = opened(join(store, "clips", shard))
        try:
            if group != (shard, number):
                # Arrow's threads gain nothing: nearly all bytes are in one column.
                table = files[shard].read_row_group(number, columns=wanted, use_threads=False)
                table = fill_columns(table, wanted)
                group = (shard, number)
            values = {column: table[column][row] for column in wanted}
        except (pa.ArrowException, OSError, IndexError) as error:
            where = join(store, "clips", shard)
            raise _damaged(where, error, f" at clip {clip!r}") from error
        yield {c: v.values if c in PIXEL_COLUMNS else to_value(v) for c, v in values.items()}


def fingerprint(table: pa.Table) -> str:
    """SHA-256 over names, pixel hashes, groups and labels, independent of file layout.

    A column that version 0.1 lacks counts only where it has a value.
    """
    columns = [column for column in LIGHT_COLUMNS if column != "signature"]
    digest = hashlib.sha256()
    for row in to_rows(table.select(columns).sort_by("clip")):
        for name in LATER_COLUMNS:
            if row[name] is None:
                del row[name]
        digest.update(json.dumps(row, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def _frames_of_group(file: pq.ParquetFile, number: int) -> dict[str, int]:
    group = file.metadata.row_group(number)
    if group.num_rows == 1:
        (clip,) = file.read_row_group(number, columns=["clip"])["clip"].to_pylist()
        return {clip: group.column(_frames_column(file.metadata)).num_values}
    part = file.read_row_group(number, columns=["clip", "frames"])
    lengths = pc.list_value_length(part["frames"]).to_pylist()
    return dict(zip(part["clip"].to_pylist(), lengths, strict=True))


def _frames_column(footer: pq.FileMetaData) -> int:
    paths = (footer.schema.column(i).path for i in range(footer.num_columns))
    return next(i for i, path in enumerate(paths) if path.startswith("frames."))


def _damaged(path: PathOrUri, error: Exception, where: str = "") -> StoreError:
    if is_remote(path) and (message := explain_storage_error(error)):
        return StoreError(f"{path}: not readable{where}: {message}")
    return StoreError(f"{path}: damaged{where} ({describe_error(error)}); ingest again")
