"""The lines of a run where there is no terminal."""

import math

import pytest

from lus_ray.monitoring.progress_bar import ProgressBar
from lus_ray.runs.cell import Cell


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ({"epoch": 3, "val_score": 0.5}, "epoch 3 val 0.500"),
        ({"epoch": 3, "val_score": 0.0}, "epoch 3 val 0.000"),
        ({"epoch": 3, "val_score": math.nan}, "epoch 3"),
        ({"epoch": 3}, "epoch 3"),
        ({"finished": 1, "val_score": 0.5}, ""),
    ],
)
def test_the_line_of_a_finished_cell_ends_with_its_last_epoch_and_score(values, shown, capsys):
    cell = Cell("arm", 0)
    with ProgressBar(2, 0) as bar:
        bar.on_start(cell)
        bar.on_report(cell, values)
        bar.on_end(cell, error=None)
    assert capsys.readouterr().err.partition(" s")[2].strip() == shown
