"""The figures of a run folder as Prometheus text: they outlive the cluster that made them."""

from collections.abc import Callable, Iterable, Iterator

from lus_ray.monitoring.states import STATES, CellState, RunGrid

Figure = Callable[[CellState], float | None]
TYPE = "text/plain; version=0.0.4; charset=utf-8"


def text(grid: RunGrid) -> str:
    """Cells by state, and of each cell that has begun its epochs, score, time and starts."""
    return "\n".join([*_lines(grid), ""])


def _lines(grid: RunGrid) -> Iterator[str]:
    run = {"experiment": grid.experiment}
    yield from _family(
        "lus_cells", "Cells by state.",
        (({**run, "state": state}, grid.counts.get(state, 0)) for state in STATES),
    )  # fmt: skip
    yield from _family(
        "lus_campaign_running", "Whether a driver is at work.",
        [(run, int(grid.campaign.is_live))],
    )  # fmt: skip
    if grid.elapsed_s is not None:
        elapsed = [(run, round(grid.elapsed_s, 1))]
        yield from _family("lus_campaign_seconds", "Length of the campaign.", elapsed)
    cells = [
        ({**run, "arm": arm.name, "fold": str(cell.fold)}, cell)
        for arm in grid.arms
        for cell in arm.cells
    ]
    begun = [(tags, cell) for tags, cell in cells if cell.num_epochs or cell.num_starts]
    yield from _cell_family("lus_cell_epoch", "Epochs that ended.", begun, lambda c: c.num_epochs)
    yield from _cell_family("lus_cell_score", "Validation score.", begun, lambda c: c.score)
    yield from _cell_family("lus_cell_seconds", "What it took.", begun, lambda c: c.seconds)
    yield from _cell_family("lus_cell_starts", "How often it began.", begun, lambda c: c.num_starts)


def _cell_family(
    name: str, about: str, cells: list[tuple[dict[str, str], CellState]], value: Figure
) -> Iterator[str]:
    known = ((tags, value(cell)) for tags, cell in cells)
    return _family(name, about, [(tags, figure) for tags, figure in known if figure is not None])


def _family(
    name: str, about: str, figures: Iterable[tuple[dict[str, str], float]]
) -> Iterator[str]:
    yield f"# HELP {name} {about}"
    yield f"# TYPE {name} gauge"
    for tags, figure in figures:
        labels = ",".join(f'{key}="{_escaped(value)}"' for key, value in tags.items())
        yield f"{name}{{{labels}}} {figure}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
