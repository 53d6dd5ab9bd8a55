"""The cost of one backbone for several labels, beside a network of its own for each of them.

Source: Gare 2022, Table 1: the minutes of the biomarker backbone are counted once, those of
networks trained end to end three times.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lus_ray.data.labels import label_title
from lus_ray.evaluation.schema import ArmResult
from lus_ray.report import formatting
from lus_ray.report.blocks import Cell, Table

CAPTION = (
    "Time to train and apply what predicts all of these labels, summed over the finished folds. A "
    "backbone that several labels share counts once. Experts: one for each label, the mean over "
    "their kinds."
)
COLUMNS = ("Predicted", "Networks", "Number", "Time of networks", "Time of experts", "Sum")


@dataclass(frozen=True)
class Route:
    """How some labels are predicted: by these networks, and by one expert for each label."""

    networks: tuple[ArmResult, ...]
    experts: tuple[ArmResult, ...] = ()

    @property
    def network_s(self) -> float:
        return sum(_seconds(arm) for arm in self.networks)

    @property
    def expert_s(self) -> float:
        """Seconds of one expert per label: the mean over kinds."""
        kinds = {arm.kind for arm in self.experts}
        return sum(_seconds(arm) for arm in self.experts) / max(1, len(kinds))


def find_routes(arms: Sequence[ArmResult]) -> dict[str, tuple[Route, ...]]:
    """By the labels that they predict: a network for each, then every backbone that they share.

    Only labels that each have a network of their own count, and only two or more of them.
    """
    named = {arm.name: arm for arm in arms if arm.cost}
    own: dict[str, ArmResult] = {}
    for arm in named.values():
        if arm.label and not (arm.reads or arm.start or arm.baseline or arm.crossfit):
            own.setdefault(arm.label, arm)
    shared: dict[str, list[ArmResult]] = {}
    for arm in named.values():
        is_expert = arm.kind and not arm.baseline and arm.label in own
        if is_expert and arm.reads in named and own[arm.label or ""].name != arm.reads:
            shared.setdefault(arm.reads or "", []).append(arm)
    routes: dict[str, tuple[Route, ...]] = {}
    for name, experts in shared.items():
        labels = list(dict.fromkeys(arm.label or "" for arm in experts))
        if len(labels) < 2:
            continue
        title = ", ".join(label_title(label) for label in labels)
        alone = Route(tuple(own[label] for label in labels))
        routes.setdefault(title, (alone,))
        routes[title] += (Route(_chain(named, name), tuple(experts)),)
    return routes


def shared_cost_table(arms: Sequence[ArmResult]) -> Table | None:
    """A row per route; None where no backbone serves several labels."""
    rows = tuple(
        (
            Cell(title),
            Cell(", ".join(arm.name for arm in route.networks)),
            formatting.number(len(route.networks), "d"),
            formatting.duration_cell(route.network_s),
            formatting.duration_cell(route.expert_s),
            formatting.duration_cell(route.network_s + route.expert_s),
        )
        for title, routes in find_routes(arms).items()
        for route in routes
    )
    if not rows:
        return None
    return Table("shared costs", "One backbone for several labels", COLUMNS, rows, CAPTION)


def _chain(named: Mapping[str, ArmResult], name: str) -> tuple[ArmResult, ...]:
    """An arm after those that it starts from or reads."""
    arm = named[name]
    before = arm.start or arm.reads
    return (*(_chain(named, before) if before and before in named else ()), arm)


def _seconds(arm: ArmResult) -> float:
    return arm.cost.get("wall_s") or 0.0
