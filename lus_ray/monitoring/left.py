"""How long the rest of a run may take, from what its finished cells took."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from lus_ray.monitoring.states import ArmRow, CellState


def left_s(arms: Sequence[ArmRow], kinds: Mapping[str, str], *, now: float) -> float | None:
    """Seconds until the last cell that runs or waits is finished, as many at a time as now.

    A cell that has done some epochs takes as long for each of the others; one that has not takes
    the mean of its arm, else of arms of the same kind (`kinds`, by arm), else of all.
    None where no cell runs, or nothing is known.
    """
    known: dict[tuple[str, str], list[float]] = defaultdict(list)
    for arm in arms:
        for cell in arm.cells:
            if cell.state == "finished" and cell.seconds is not None:
                for key in _keys(arm, kinds):
                    known[key].append(cell.seconds)
    means = {key: sum(seconds) / len(seconds) for key, seconds in known.items()}
    rest, num_running = 0.0, 0
    for arm in arms:
        for cell in arm.cells:
            if cell.state not in ("running", "waiting"):
                continue
            mean = next((means[key] for key in _keys(arm, kinds) if key in means), None)
            one = _one(cell, mean, now)
            if one is None:
                return None
            rest += one
            num_running += cell.state == "running"
    return rest / num_running if num_running else None


def _keys(arm: ArmRow, kinds: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return ("arm", arm.name), ("kind", kinds.get(arm.name, "")), ("all", "")


def _one(cell: CellState, mean: float | None, now: float) -> float | None:
    if cell.state == "waiting" or cell.since is None:
        return mean
    spent = max(0.0, now - cell.since)
    if cell.planned and 0 < cell.num_epochs <= cell.planned:
        return spent * (cell.planned - cell.num_epochs) / cell.num_epochs
    return None if mean is None else max(0.0, mean - spent)
