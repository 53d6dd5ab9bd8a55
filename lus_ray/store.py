"""A store: a folder of Parquet files with one row a clip.

    <store>/clips/<source>-<k>.parquet   LZ4, row groups of a few clips, sorted by patient
    <store>/ledger.jsonl                 what was skipped or repaired, and why
    <store>/store.json                   schema version, sources, how they were read

Why row groups are bounded by bytes: a training epoch reads clips in random order, and a row
group is the least that Parquet reads.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lus_ray.clip import PIXELS, SCHEMA, Row, check
from lus_ray.errors import StoreError
from lus_ray.files import open_parquet, write_text

GROUP_BYTES = 12 << 20
GROUP_CLIPS = 4
SHARD_BYTES = 512 << 20

LIGHT = tuple(name for name in SCHEMA.names if name not in PIXELS)
"""Columns that fit in memory for a whole store."""


class Writer:
    """Write the clips of one source into a store; nothing shows until all of them are there.

    `with Writer(store, "phantom") as writer: writer.add(row)`. Rows must come patient by patient.
    On a clean exit the shards of this source replace the earlier ones in one step each; on an
    error the store is left as it was.

    Raises:
        SchemaError: a row does not fit.
        StoreError: a patient comes back after another one began, or a clip name repeats.
    """

    def __init__(self, store: Path | str, source: str) -> None:
        self.store, self.source = Path(store), source
        self.staging = self.store / f".writing-{source}"
        self.rows: list[Row] = []
        self.clips: set[str] = set()
        self.patients: dict[str, None] = {}
        self.row_bytes = 0
        self.shard_bytes = 0
        self.shard: pq.ParquetWriter | None = None
        self.num_shards = 0

    def __enter__(self) -> "Writer":
        shutil.rmtree(self.staging, ignore_errors=True)
        self.staging.mkdir(parents=True)
        return self

    def add(self, row: Row) -> None:
        """Append one clip."""
        check(row)
        if row["clip"] in self.clips:
            raise StoreError(f"{self.store}: clip {row['clip']!r} comes twice; names are unique")
        if row["patient"] in self.patients and next(reversed(self.patients)) != row["patient"]:
            raise StoreError(
                f"{self.store}: patient {row['patient']!r} comes back; sort by patient"
            )
        self.clips.add(row["clip"])
        self.patients[row["patient"]] = None
        num_bytes = sum(map(len, row["frames"])) + sum(map(len, row["masks"] or ()))
        if self.rows and (
            self.row_bytes + num_bytes > GROUP_BYTES or len(self.rows) >= GROUP_CLIPS
        ):
            self._flush()
        self.rows.append(row)
        self.row_bytes += num_bytes

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._flush()
            if self.shard is not None:
                self.shard.close()
            if kind is None:
                self._publish()
        finally:
            shutil.rmtree(self.staging, ignore_errors=True)

    def _flush(self) -> None:
        if not self.rows:
            return
        if self.shard is None or self.shard_bytes > SHARD_BYTES:
            if self.shard is not None:
                self.shard.close()
            path = self.staging / f"{self.source}-{self.num_shards:05d}.parquet"
            self.shard = open_shard(path)
            self.num_shards += 1
            self.shard_bytes = 0
        self.shard.write_table(pa.Table.from_pylist(self.rows, schema=SCHEMA))
        self.shard_bytes += self.row_bytes
        self.rows, self.row_bytes = [], 0

    def _publish(self) -> None:
        target = self.store / "clips"
        target.mkdir(parents=True, exist_ok=True)
        written = {path.name for path in self.staging.glob("*.parquet")}
        for name in sorted(written):
            os.replace(self.staging / name, target / name)
        for old in shards(self.store, self.source):
            if old.name not in written:
                old.unlink()


def open_shard(path: Path) -> pq.ParquetWriter:
    """A Parquet writer with the settings of every shard."""
    return pq.ParquetWriter(
        path, SCHEMA, compression="lz4", use_dictionary=False, write_page_checksum=True
    )


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


def replace_groups(store: Path | str, groups: dict[str, str]) -> int:
    """Write the group of each named clip into the store; the number of shards rewritten.

    Only shards in which a group changes are rewritten, each in one step.
    """
    changed = 0
    for path in shards(store):
        file = open_file(path)
        light = file.read(columns=["clip", "group"]).to_pylist()
        if all(groups.get(row["clip"], row["group"]) == row["group"] for row in light):
            continue
        staging = path.with_suffix(".writing")
        try:
            _copy_with_groups(file, staging, groups)
            os.replace(staging, path)
        finally:
            staging.unlink(missing_ok=True)
        changed += 1
    return changed


def note(store: Path | str, source: str, facts: dict[str, Any]) -> None:
    """Keep in `store.json` how a source was read: options, policies, counts."""
    path = Path(store) / "store.json"
    empty: dict[str, Any] = {"schema": 1, "sources": {}}
    known = json.loads(path.read_text()) if path.exists() else empty
    known["sources"][source] = facts
    write_text(path, json.dumps(known, indent=1, sort_keys=True) + "\n")


def notes(store: Path | str) -> dict[str, Any]:
    """What `note` kept, by source."""
    path = Path(store) / "store.json"
    if not path.exists():
        return {}
    try:
        return dict(json.loads(path.read_text())["sources"])
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path}: not readable ({error}); ingest again") from error


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


def _copy_with_groups(file: pq.ParquetFile, target: Path, groups: dict[str, str]) -> None:
    place = SCHEMA.get_field_index("group")
    with open_shard(target) as writer:
        for number in range(file.num_row_groups):
            table = file.read_row_group(number, columns=SCHEMA.names)
            light = table.select(["clip", "group"]).to_pylist()
            new = [groups.get(row["clip"], row["group"]) for row in light]
            writer.write_table(table.set_column(place, SCHEMA.field("group"), pa.array(new)))


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
