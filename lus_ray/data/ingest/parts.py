"""A source in parts of a few clips: workers make their shards, one process puts them in order.

A worker is a thread of this process (`part_threads`) or a process of a cluster (`cluster_parts`).
It makes a part in a folder of its own and reports each clip; shards, ledger and rows are put
together in the order of the source, so the store does not depend on the workers.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from lus_ray import clip
from lus_ray.data.decoding.decoder import DecodeLimits
from lus_ray.data.duplicates.matching import Patches, describe_signature
from lus_ray.data.ingest.simulation import SimulatedClips
from lus_ray.data.ledger import Ledger, LedgerEntry
from lus_ray.data.store import Writer
from lus_ray.storage.child_process import Stoppable

FEWEST_CLIPS, MOST_CLIPS, NUM_PARTS = 4, 32, 32
"""A source has so many parts, but a part has no less and no more clips: workers get equal shares of
a small source, a large one gets few shards, and a lost worker costs little."""
LEFT_OUT = (*clip.PIXEL_COLUMNS, "signature")
"""Columns that are in the shards alone."""

Item = Any
"""A dict of a reader, or the name of a simulated clip."""


@dataclass(frozen=True)
class PartSettings:
    """How a source is read; `root` is None for a simulator."""

    source: str
    root: Path | None
    options: dict[str, Any]
    limits: DecodeLimits
    max_side: int
    missing_patient: str


@runtime_checkable
class RowMaker(Stoppable, Protocol):
    """Makes the rows of a source, one at a time; None for an item that the ledger skips."""

    def make_row(self, item: Item, ledger: Ledger) -> clip.Row | None: ...


@dataclass(frozen=True)
class MadeClip:
    """What became of an item: its row without pixels, empty if it was skipped; ledger entries."""

    row: clip.Row
    entries: list[LedgerEntry]
    num_frames: int = 0
    file: Path | None = None
    patches: Patches | None = None


@dataclass(frozen=True)
class Part:
    """The clips of a part as they are made; when all are, `folder` has their shards."""

    clips: Iterable[MadeClip]
    folder: Path


@runtime_checkable
class PartPool(Protocol):
    def make(self, parts: Sequence[range], folder: Path) -> Iterator[Part]:
        """Make the parts with items of these numbers in subfolders of `folder`, in order."""
        ...


def split(num_items: int) -> list[range]:
    size = min(max(-(-num_items // NUM_PARTS), FEWEST_CLIPS), MOST_CLIPS)
    return [range(first, min(first + size, num_items)) for first in range(0, num_items, size)]


def list_items(clips: SimulatedClips | list[dict[str, Any]]) -> list[Item]:
    return list(clips.makers) if isinstance(clips, SimulatedClips) else clips


def make_part(
    items: Iterable[Item], maker: RowMaker, folder: Path, source: str
) -> Iterator[MadeClip]:
    """Write the clips of a part into a folder; each is reported when it is made."""
    with Writer(folder, source) as writer:
        for item in items:
            ledger = Ledger()
            row = maker.make_row(item, ledger)
            if row is None:
                yield MadeClip({}, ledger.entries)
                continue
            writer.add(row)
            light = {name: value for name, value in row.items() if name not in LEFT_OUT}
            patches = row["signature"] and describe_signature(row["signature"])
            file = item["file"] if isinstance(item, Mapping) else None
            yield MadeClip(light, ledger.entries, len(row["frames"]), file, patches)


def write_parts(
    pool: PartPool, num_items: int, writer: Writer, folder: Path, ledger: Ledger
) -> Iterator[MadeClip]:
    """Each clip when it is made, in the order of the source; skipped ones go to the ledger.

    `writer` gets the shards that the workers made below `folder`.
    """
    for part in pool.make(split(num_items), folder):
        for made in part.clips:
            ledger.entries += made.entries
            if made.row:
                writer.check_order(made.row)
                yield made
        writer.adopt(part.folder)
