"""Clips out of a store: the light columns of all of them, or rows with their pixels."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lus_ray.clip import PIXELS, SCHEMA, Row
from lus_ray.errors import StoreError
from lus_ray.files import open_parquet

LIGHT = tuple(name for name in SCHEMA.names if name not in PIXELS)
"""Columns that fit in memory for a whole store."""


def shards(store: Path | str, source: str | None = None) -> list[Path]:
    """The shard files of a store in order, of one source or of all; other files are ignored."""
    found = sorted((Path(store) / "clips").glob("*.parquet"))
    return [p for p in found if source is None or p.name.rpartition("-")[0] == source]


def open_file(path: Path) -> pq.ParquetFile:
    """A shard whose columns are those of this version.

    Raises:
        StoreError: the file is not readable, or has other columns than `SCHEMA`.
    """
    file = open_parquet(path)
    found = file.schema_arrow
    for field in SCHEMA:
        index = found.get_field_index(field.name)
        kind = found.field(index).type if index >= 0 else None
        if kind != field.type:
            raise StoreError(
                f"{path}: column {field.name!r} is {kind}, not {field.type}; "
                "this store has another version or another origin; ingest again"
            )
    return file


def index(store: Path | str) -> pa.Table:
    """All columns but the pixels, one row a clip, sorted by clip name.

    Three more columns say where the pixels lie: `shard` (file name), `row_group`, `row`.

    Raises:
        StoreError: there is no store here, or a shard is damaged.
    """
    paths = shards(store)
    if not paths:
        raise StoreError(
            f"{store}: no clips here; make a store with 'lus ingest SOURCE ROOT STORE'"
        )
    parts = []
    for path in paths:
        file = open_file(path)
        try:
            for number in range(file.num_row_groups):
                part = file.read_row_group(number, columns=list(LIGHT))
                parts.append(_located(part, path.name, number))
        except (pa.ArrowException, OSError) as error:
            raise StoreError(
                f"{path}: damaged ({str(error).splitlines()[0]}); ingest again"
            ) from error
    return pa.concat_tables(parts).sort_by("clip").combine_chunks()


def num_frames(store: Path | str) -> int:
    """Frames of all clips, from the file footers alone."""
    total = 0
    for path in shards(store):
        footer = open_file(path).metadata
        place = _frames_column(footer)
        total += sum(
            footer.row_group(g).column(place).num_values for g in range(footer.num_row_groups)
        )
    return total


def frame_counts(store: Path | str) -> dict[str, int]:
    """Frames by clip. A row group of one clip is told by its footer, others are read.

    Raises:
        StoreError: a shard is damaged.
    """
    counts: dict[str, int] = {}
    for path in shards(store):
        file = open_file(path)
        try:
            for number in range(file.num_row_groups):
                counts |= _frames_of_group(file, number)
        except (pa.ArrowException, OSError) as error:
            raise StoreError(
                f"{path}: damaged ({str(error).splitlines()[0]}); ingest again"
            ) from error
    return counts


def read(
    store: Path | str, clips: Iterable[str] | None = None, *, columns: Sequence[str] | None = None
) -> Iterator[Row]:
    """Rows of a store with their pixels, in the order asked for (all of them where None).

    A row group is decoded once while consecutive clips come from it.

    Raises:
        StoreError: a clip is not in the store.
    """
    table = index(store)
    names = table["clip"].to_pylist()
    where = dict(
        zip(
            names,
            zip(*(table[c].to_pylist() for c in ("shard", "row_group", "row")), strict=True),
            strict=True,
        )
    )
    yield from read_located(store, [(c, *_find(where, c, store)) for c in clips or names], columns)


def read_located(
    store: Path | str,
    located: Iterable[tuple[str, str, int, int]],
    columns: Sequence[str] | None = None,
) -> Iterator[Row]:
    """Rows at known places (clip, shard, row_group, row), as `index` gives them.

    `frames` and `masks` stay Arrow arrays, which `clip.frames_of` views without a copy.
    """
    wanted = list(columns or SCHEMA.names)
    files: dict[str, pq.ParquetFile] = {}
    group: tuple[str, int] | None = None
    table = None
    for clip, shard, number, row in located:
        if shard not in files:
            files[shard] = open_file(Path(store) / "clips" / shard)
        if group != (shard, number):
            try:
                table = files[shard].read_row_group(number, columns=wanted)
            except (pa.ArrowException, OSError) as error:
                raise StoreError(f"{shard}: damaged at clip {clip!r}; ingest again") from error
            group = (shard, number)
        assert table is not None
        yield {
            name: table[name][row].values if name in PIXELS else table[name][row].as_py()
            for name in wanted
        }


def fingerprint(table: pa.Table) -> str:
    """SHA-256 over names, pixels, groups and labels of an index, independent of file layout."""
    columns = [name for name in LIGHT if name != "signature"]
    digest = hashlib.sha256()
    for row in table.select(columns).sort_by("clip").to_pylist():
        digest.update(json.dumps(row, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def _frames_of_group(file: pq.ParquetFile, number: int) -> dict[str, int]:
    group = file.metadata.row_group(number)
    if group.num_rows == 1:
        (name,) = file.read_row_group(number, columns=["clip"])["clip"].to_pylist()
        return {name: group.column(_frames_column(file.metadata)).num_values}
    part = file.read_row_group(number, columns=["clip", "frames"])
    lengths = pc.list_value_length(part["frames"]).to_pylist()
    return dict(zip(part["clip"].to_pylist(), lengths, strict=True))


def _frames_column(footer: pq.FileMetaData) -> int:
    paths = (footer.schema.column(i).path for i in range(footer.num_columns))
    return next(i for i, path in enumerate(paths) if path.startswith("frames."))


def _located(part: pa.Table, shard: str, row_group: int) -> pa.Table:
    num_rows = part.num_rows
    return (
        part.append_column("shard", pa.array([shard] * num_rows, pa.string()))
        .append_column("row_group", pa.array([row_group] * num_rows, pa.int32()))
        .append_column("row", pa.array(range(num_rows), pa.int32()))
    )


def _find(where: dict[str, tuple[str, int, int]], clip: str, store: Path | str) -> tuple:
    if clip not in where:
        raise StoreError(f"{store}: no clip {clip!r}; 'lus check {store}' lists what is there")
    return where[clip]
