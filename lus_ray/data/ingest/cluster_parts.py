"""Parts of a source made by other processes, of a cluster too.

The driver reads the tables of the source and sends the numbers of clips. A worker reads the same
tables, checks that they name the same clips, and returns a part: one JSON line, then its shards.
Why shards are returned and not written: nothing is left behind by a worker that was killed, and a
store on object storage needs no folder that all machines share.
"""

import base64
import json
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from lus_ray.data.decoding.decoder import FileDecoder
from lus_ray.data.duplicates.matching import Patches
from lus_ray.data.ingest import readers
from lus_ray.data.ingest.file_clips import FileClips
from lus_ray.data.ingest.parts import (
    Item,
    MadeClip,
    Part,
    PartSettings,
    RowMaker,
    list_items,
    make_part,
)
from lus_ray.data.ingest.simulation import LocalSimulator, SimulatedClips
from lus_ray.data.ledger import Ledger, LedgerEntry
from lus_ray.data.store import list_shards
from lus_ray.errors import SourceError

MapInOrder = Callable[[Sequence[str], type, Mapping[str, Any]], Iterator[Any]]
"""(items, worker class, its settings) -> one result per item in order, as by `actor_pool`."""


class PartWorker:
    """Makes parts of a source, one file or clip at a time."""

    def __init__(self, settings: PartSettings) -> None:
        self.settings = settings
        clips = readers.list_items(
            settings.source, settings.root, Ledger(), settings.options, settings.missing_patient
        )
        self.items = list_items(clips)
        self.maker: RowMaker
        if isinstance(clips, SimulatedClips):
            self.maker = LocalSimulator(clips)
        else:
            decoder = FileDecoder(settings.limits, max_side=settings.max_side)
            self.maker = FileClips(settings.source, settings.root, decoder)

    @threadpool_limits.wrap(limits=1, user_api="blas")  # small products only: threads would wait
    def __call__(self, batch: Mapping[str, Sequence[str]]) -> pa.Table:
        parts = [self.make_part(*json.loads(str(request))) for request in batch["packed"]]
        return pa.table({"packed": pa.array(parts, pa.large_binary())})

    def make_part(self, first: int, names: list[str]) -> bytes:
        """The part with these clips, of which the first one has this number.

        Raises:
            SourceError: the source has other clips here.
        """
        items = self.items[first : first + len(names)]
        if list(map(_name, items)) != names:
            root = self.settings.root
            raise SourceError(
                f"{root}: differs on {socket.gethostname()}; give a folder that all machines share"
            )
        with tempfile.TemporaryDirectory() as folder:
            clips = list(make_part(items, self.maker, Path(folder), self.settings.source))
            shards = [Path(shard).read_bytes() for shard in list_shards(folder)]
        report = {"clips": list(map(_pack, clips)), "shards": [len(shard) for shard in shards]}
        line = json.dumps(report, default=lambda number: number.item())
        return b"".join([line.encode(), b"\n", *shards])


class ClusterParts:
    """Makes parts of a source in the processes of `map_in_order`."""

    def __init__(
        self,
        settings: PartSettings,
        clips: SimulatedClips | list[dict[str, Any]],
        map_in_order: MapInOrder,
    ) -> None:
        self.settings, self.map_in_order = settings, map_in_order
        self.names = list(map(_name, list_items(clips)))

    def __enter__(self) -> "ClusterParts":
        return self

    def __exit__(self, *exception: object) -> None:
        """`map_in_order` ends its own workers."""

    def make(self, parts: Sequence[range], folder: Path) -> Iterator[Part]:
        requests = [
            json.dumps([numbers.start, self.names[numbers.start : numbers.stop]])
            for numbers in parts
        ]
        packed = self.map_in_order(requests, PartWorker, {"settings": self.settings})
        for number, content in enumerate(packed):
            yield _unpack(content, folder / str(number))


def _name(item: Item) -> str:
    return item if isinstance(item, str) else str(item["clip"])


def _pack(made: MadeClip) -> dict[str, Any]:
    patches = made.patches and base64.b64encode(made.patches.to_bytes()).decode()
    return {
        "row": made.row,
        "entries": [asdict(entry) for entry in made.entries],
        "num_frames": made.num_frames,
        "file": made.file and str(made.file),
        "patches": patches,
    }


def _unpack(content: bytes, folder: Path) -> Part:
    start = content.index(b"\n") + 1
    report = json.loads(content[:start])
    clips = [
        MadeClip(
            made["row"],
            [LedgerEntry(**entry) for entry in made["entries"]],
            made["num_frames"],
            made["file"] and Path(made["file"]),
            made["patches"] and Patches.from_bytes(base64.b64decode(made["patches"])),
        )
        for made in report["clips"]
    ]
    (folder / "clips").mkdir(parents=True)
    for number, size in enumerate(report["shards"]):
        shard = folder / "clips" / f"{number:05d}.parquet"
        shard.write_bytes(memoryview(content)[start : start + size])
        start += size
    return Part(clips, folder)
