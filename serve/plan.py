"""The plan of a service on one machine: which applications run, and where.

`lus serve` writes it to a file beside the copies of the checkpoints. Every ingress reads it, loads
the applications that are colocated into its own process, and calls the others over Serve. An
ingress that restarts reads it again.

Why colocated: a call to another process costs one to two milliseconds, as long as a small network.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from lus_ray.inference.served_model import ServedModel

PLAN = "plan.json"
COLOCATED_BYTES = 2**30
"""Checkpoints of this size together fit into each ingress; `auto` deploys larger ones alone."""

LayoutOption = Literal["auto", "colocated", "composed"]


@dataclass(frozen=True)
class PlannedApplication:
    """An application; `models` with their reports where the ingress loads them, else None."""

    name: str
    reads: str | None
    models: tuple[ServedModel, ...] | None


_PLAN = TypeAdapter(tuple[PlannedApplication, ...])


def write_plan(folder: Path, applications: Iterable[PlannedApplication]) -> None:
    """Replace the plan in a folder at once; the applications deployed last come last."""
    new = folder / f"{PLAN}.new"
    new.write_bytes(_PLAN.dump_json(tuple(applications)))
    new.replace(folder / PLAN)


def read_plan(folder: Path) -> tuple[PlannedApplication, ...]:
    return _PLAN.validate_json((folder / PLAN).read_bytes())


def choose_colocated(
    models: Mapping[str, Sequence[ServedModel]],
    option: LayoutOption,
    *,
    apart: Collection[str] = (),
) -> set[str]:
    """The slots that every ingress loads, by their models.

    `auto` takes the slots with the smallest checkpoints as long as they fit together, without those
    `apart`, which have resources of their own.
    """
    if option != "auto":
        return set(models) if option == "colocated" else set()
    sizes = {slot: sum(map(_num_bytes, group)) for slot, group in models.items()}
    smallest_first = sorted(set(sizes) - set(apart), key=lambda slot: (sizes[slot], slot))
    totals = accumulate(sizes[slot] for slot in smallest_first)
    return {
        slot for slot, total in zip(smallest_first, totals, strict=True) if total <= COLOCATED_BYTES
    }


def _num_bytes(model: ServedModel) -> int:
    return sum(file.stat().st_size for file in model.folder.rglob("*") if file.is_file())
