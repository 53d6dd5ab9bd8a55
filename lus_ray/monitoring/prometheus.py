"""The metrics of a run folder for Prometheus; they outlive the cluster that made them."""

from collections.abc import Callable
from functools import partial

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from lus_ray.monitoring.states import STATES, CellState, RunGrid

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
CELL_METRICS: tuple[tuple[str, str, Callable[[CellState], float | None]], ...] = (
    ("lus_cell_epoch", "Finished epochs.", lambda cell: cell.num_epochs),
    ("lus_cell_score", "Validation score.", lambda cell: cell.score),
    ("lus_cell_seconds", "Duration.", lambda cell: cell.seconds),
    ("lus_cell_starts", "Number of starts.", lambda cell: cell.num_starts),
)


def format_metrics(grid: RunGrid) -> bytes:
    """Cells by state; of each cell that has started its epochs, score, duration and starts."""
    registry = CollectorRegistry()
    new_gauge = partial(Gauge, registry=registry)
    gauge = new_gauge("lus_cells", "Cells by state.", ["experiment", "state"])
    for state in STATES:
        gauge.labels(grid.experiment, state).set(grid.counts.get(state, 0))
    gauge = new_gauge("lus_campaign_running", "Whether a driver is running.", ["experiment"])
    gauge.labels(grid.experiment).set(int(grid.campaign.is_live))
    if grid.elapsed_s is not None:
        gauge = new_gauge("lus_campaign_seconds", "Duration of the campaign.", ["experiment"])
        gauge.labels(grid.experiment).set(round(grid.elapsed_s, 1))
    for name, description, value_of in CELL_METRICS:
        gauge = new_gauge(name, description, ["experiment", "arm", "fold", "seed"])
        for arm in grid.arms:
            for cell in arm.cells:
                value = value_of(cell)
                if value is not None and (cell.num_epochs or cell.num_starts):
                    names = (grid.experiment, arm.name, str(cell.fold), str(cell.seed))
                    gauge.labels(*names).set(value)
    return generate_latest(registry)
