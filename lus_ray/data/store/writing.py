"""Writing the clips of a source into the shards of a staging folder."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lus_ray.clip import PIXEL_COLUMNS, SCHEMA, Row, check_row, fill_columns
from lus_ray.data.store.reading import list_shards, open_shard
from lus_ray.errors import StoreError
from lus_ray.storage.paths import PathOrUri, basename

GROUP_BYTES = 12 << 20
GROUP_CLIPS = 4
SHARD_BYTES = 512 << 20
SHARD_GROUPS = 32
"""Opening a shard reads its whole footer: with a bound, a clip costs no more in a large store than
in a small one."""


class Writer:
    """Writes the clips of one source into a folder, patient by patient.

    Raises:
        SchemaError: a row does not fit.
        StoreError: a patient returns after another one, or a clip name repeats.
    """

    def __init__(self, folder: Path | str, source: str) -> None:
        self.folder, self.source = Path(folder) / "clips", source
        self.rows: list[pa.Table] = []
        self.clips: set[str] = set()
        self.patients: dict[str, None] = {}
        self.shard: pq.ParquetWriter | None = None
        self.row_bytes = self.shard_bytes = self.num_shards = self.num_groups = 0

    def __enter__(self) -> "Writer":
        self.folder.mkdir(parents=True, exist_ok=True)
        return self

    def add(self, row: Row) -> None:
        check_row(row)
        self.check_order(row)
        num_images = len(row["frames"]) + len(row["masks"] or ())
        num_bytes = num_images * row["height"] * row["width"]
        if self.rows and (
            self.row_bytes + num_bytes > GROUP_BYTES or len(self.rows) >= GROUP_CLIPS
        ):
            self._flush()
        self.rows.append(_to_table(row))
        self.row_bytes += num_bytes

    def adopt(self, folder: Path) -> None:
        """Move the shards in here that another writer made in a folder; their order is checked."""
        for shard in list_shards(folder):
            Path(shard).rename(self._next_shard())

    def check_order(self, row: Row) -> None:
        if row["clip"] in self.clips:
            raise StoreError(f"{self.source}: clip {row['clip']!r} appears twice; names are unique")
        if row["patient"] in self.patients and next(reversed(self.patients)) != row["patient"]:
            raise StoreError(f"{self.source}: patient {row['patient']!r} returns; sort by patient")
        self.clips.add(row["clip"])
        self.patients[row["patient"]] = None

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        try:
            if kind is None:
                self._flush()
        finally:
            if self.shard is not None:
                self.shard.close()

    def _flush(self) -> None:
        if not self.rows:
            return
        full = self.shard_bytes > SHARD_BYTES or self.num_groups >= SHARD_GROUPS
        if self.shard is not None and full:
            self.shard.close()
        if self.shard is None or full:
            self.shard = create_shard(self._next_shard())
            self.shard_bytes, self.num_groups = 0, 0
        self.shard.write_table(pa.concat_tables(self.rows))
        self.shard_bytes += self.row_bytes
        self.num_groups += 1
        self.rows, self.row_bytes = [], 0

    def _next_shard(self) -> Path:
        self.num_shards += 1
        return self.folder / f"{self.source}-{self.num_shards - 1:05d}.parquet"


def _to_table(row: Row) -> pa.Table:
    """A row as a table, without a copy of pixels that are Arrow arrays."""
    pixels = {name: row[name] for name in PIXEL_COLUMNS if row[name] is not None}
    table = pa.Table.from_pylist([row | dict.fromkeys(pixels, ())], schema=SCHEMA)
    for name, images in pixels.items():
        values = images if isinstance(images, pa.Array) else pa.array(images, pa.binary())
        column = pa.ListArray.from_arrays([0, len(values)], values)
        table = table.set_column(SCHEMA.get_field_index(name), SCHEMA.field(name), column)
    return table


def create_shard(path: Path) -> pq.ParquetWriter:
    return pq.ParquetWriter(
        path, SCHEMA, compression="lz4", use_dictionary=False, write_page_checksum=True
    )


def replace_groups(
    store: Path | str, groups: Mapping[str, str], beside: Sequence[PathOrUri] = ()
) -> int:
    """Write the group of each named clip into the store; the number of shards rewritten.

    Only shards in which a group changes are rewritten, each in one step. `beside` are shards
    elsewhere: if a group changes in one, its rewritten copy goes into this store.
    """
    changed = 0
    for shard in (*list_shards(store), *beside):
        file = open_shard(shard)
        light = file.read(columns=["clip", "group"]).to_pylist()
        if all(groups.get(row["clip"], row["group"]) == row["group"] for row in light):
            continue
        path = Path(store) / "clips" / basename(shard)
        staging = path.with_suffix(".writing")
        try:
            _copy_with_groups(file, staging, groups)
            os.replace(staging, path)
        finally:
            staging.unlink(missing_ok=True)
        changed += 1
    return changed


def _copy_with_groups(file: pq.ParquetFile, target: Path, groups: Mapping[str, str]) -> None:
    column = SCHEMA.get_field_index("group")
    with create_shard(target) as writer:
        for number in range(file.num_row_groups):
            table = fill_columns(file.read_row_group(number), SCHEMA.names)
            light = table.select(["clip", "group"]).to_pylist()
            new = [groups.get(row["clip"], row["group"]) for row in light]
            writer.write_table(table.set_column(column, SCHEMA.field("group"), pa.array(new)))
