"""An ingest in parts: other processes, of a cluster too, make the shards of a source.

The driver reads the tables of the source and sends the numbers of clips. A worker reads the same
tables, checks that they name the same clips, and returns a part: one JSON line, then its shards.
Ledger and rows are put together in the order of the source, so the store is that of one process.
Why shards are returned and not written: nothing is left behind by a worker that was killed, and a
store on object storage needs no folder that all machines share.
"""

import json
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from lus_ray import clip
from lus_ray.data.decoding.decoder import DecodeLimits
from lus_ray.data.ingest.readers import list_items
from lus_ray.data.ingest.simulation import SimulatedClips
from lus_ray.data.ingest.workers import IngestPool
from lus_ray.data.ledger import Ledger, LedgerEntry
from lus_ray.data.store import Writer, list_shards
from lus_ray.errors import SourceError

PART_CLIPS = 16
LEFT_OUT = (*clip.PIXEL_COLUMNS, "signature")
"""Columns that are in the shards alone."""

MapInOrder = Callable[[Sequence[str], type, Mapping[str, Any]], Iterator[Any]]
"""(items, worker class, its settings) -> one result per item in order, as by `actor_pool`."""


@dataclass(frozen=True)
class PartSettings:
    """How a source is read; `root` is None for a simulator."""

    source: str
    root: Path | None
    options: dict[str, Any]
    limits: DecodeLimits
    max_side: int
    missing_patient: str


class PartWorker:
    """Makes parts of a source, one file or clip at a time."""

    def __init__(self, settings: PartSettings) -> None:
        self.settings = settings
        self.items = list_items(
            settings.source, settings.root, Ledger(), settings.options, settings.missing_patient
        )
        self.names = _list_names(self.items)

    def __call__(self, batch: Mapping[str, Sequence[str]]) -> pa.Table:
        parts = [self.make_part(*json.loads(str(request))) for request in batch["packed"]]
        return pa.table({"packed": pa.array(parts, pa.large_binary())})

    def make_part(self, first: int, names: list[str]) -> bytes:
        """The part with these clips, of which the first one has this number.

        Raises:
            SourceError: the source has other clips here.
        """
        last = first + len(names)
        if self.names[first:last] != names:
            root = self.settings.root
            raise SourceError(
                f"{root}: differs on {socket.gethostname()}; give a folder that all machines share"
            )
        ledger = Ledger()
        with tempfile.TemporaryDirectory() as folder, self._pool(ledger) as pool:
            with Writer(folder, self.settings.source) as writer:
                rows = []
                for row in self._make_rows(pool, first, last):
                    writer.add(row)
                    light = {name: value for name, value in row.items() if name not in LEFT_OUT}
                    rows.append(light | {"num_frames": len(row["frames"])})
            shards = [Path(shard).read_bytes() for shard in list_shards(Path(folder))]
        report = {
            "rows": rows,
            "entries": [asdict(entry) for entry in ledger.entries],
            "stored": [str(path) for path in pool.stored],
            "shards": [len(shard) for shard in shards],
        }
        line = json.dumps(report, default=lambda number: number.item())
        return b"".join([line.encode(), b"\n", *shards])

    def _make_rows(self, pool: IngestPool, first: int, last: int) -> Iterator[clip.Row]:
        if isinstance(self.items, SimulatedClips):
            return map(self.items.make_row, self.names[first:last])
        return pool.make_rows(self.items[first:last])

    def _pool(self, ledger: Ledger) -> IngestPool:
        how = self.settings
        return IngestPool(how.source, ledger, how.limits, how.max_side, 1, how.root)


class PartPool:
    """Writes the clips of a source from the parts that `map_in_order` lets workers make."""

    def __init__(self, settings: PartSettings, ledger: Ledger, map_in_order: MapInOrder) -> None:
        self.settings, self.ledger, self.map_in_order = settings, ledger, map_in_order
        self.stored: list[Path] = []

    def __enter__(self) -> "PartPool":
        return self

    def __exit__(self, *exception: object) -> None:
        """Whoever gave `map_in_order` ends the workers."""

    def write(
        self, items: SimulatedClips | list[dict[str, Any]], writer: Writer
    ) -> Iterator[tuple[clip.Row, int]]:
        """Each row without pixels and signature when it is written, and its number of frames."""
        names = _list_names(items)
        requests = [
            json.dumps([first, names[first : first + PART_CLIPS]])
            for first in range(0, len(names), PART_CLIPS)
        ]
        for part in self.map_in_order(requests, PartWorker, {"settings": self.settings}):
            view = memoryview(part)
            start = part.index(b"\n") + 1
            report = json.loads(part[:start])
            self.ledger.entries += [LedgerEntry(**entry) for entry in report["entries"]]
            self.stored += map(Path, report["stored"])
            contents = []
            for size in report["shards"]:
                contents.append(view[start : start + size])
                start += size
            writer.add_shards(contents, report["rows"])
            yield from ((row, row["num_frames"]) for row in report["rows"])


def _list_names(items: SimulatedClips | list[dict[str, Any]]) -> list[str]:
    if isinstance(items, SimulatedClips):
        return list(items.makers)
    return [item["clip"] for item in items]
