"""How long the rest of a run may take."""

import pytest

from lus_ray.monitoring.left import left_s
from lus_ray.monitoring.states import ArmRow, CellState

DONE = CellState(0, "finished", seconds=30.0)
WAITS = CellState(1, "waiting")


def row(name: str, *cells: CellState) -> ArmRow:
    return ArmRow(name, None, False, cells)


def test_a_cell_half_way_takes_as_long_again():
    cell = CellState(0, "running", num_epochs=5, planned=10, since=100.0)
    assert left_s([row("a", cell)], {}, now=160.0) == 60.0


def test_a_cell_without_an_epoch_takes_the_mean_of_its_arm():
    cell = CellState(1, "running", planned=10, since=100.0)
    assert left_s([row("a", DONE, cell)], {}, now=110.0) == 20.0
    assert left_s([row("a", DONE, cell)], {}, now=500.0) == 0.0


def test_an_arm_without_a_finished_cell_takes_the_mean_of_its_kind():
    running = CellState(0, "running", num_epochs=10, planned=10, since=0.0)
    rows = [row("a", DONE), row("b", CellState(0, "finished", seconds=300.0)), row("c", WAITS)]
    kinds = {"a": "Expert", "b": "Network", "c": "Network"}
    assert left_s([*rows, row("d", running)], kinds, now=9.0) == 300.0
    assert left_s([*rows, row("d", running)], {}, now=9.0) == pytest.approx((30 + 300) / 2)


def test_nothing_is_said_where_nothing_runs_or_is_known():
    running = CellState(0, "running", planned=10, since=0.0)
    assert left_s([row("a", DONE, WAITS)], {}, now=9.0) is None
    assert left_s([row("a", running)], {}, now=9.0) is None
