"""The lines of a run where there is no terminal."""

import math
import time

import pytest

from lus_ray.monitoring.phase_log import PhaseLog
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


def test_the_running_cells_are_printed_while_nothing_else_is(capsys):
    bar = ProgressBar(6, 1, num_epochs={"e2e": 10})
    bar.log.silence_s = 0.05
    with bar:
        for cell in (Cell("e2e", 0), Cell("e2e", 1), Cell("svm", 0), Cell("svm", 1)):
            bar.on_start(cell)
        for number in (0, 1):
            bar.on_report(Cell("e2e", number), {"predicted": 12, "clips": 54})
        bar.on_report(Cell("e2e", 1), {"epoch": 3})  # a cross-fitted arm trains its next model
        time.sleep(0.3)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "1 of 6 cells are already finished"
    assert lines[1:]
    assert set(lines[1:]) == {
        "still running 4 of 6 cells, 1 finished: e2e/fold0 predicts clip 12 of 54, 0 s; "
        "e2e/fold1 epoch 5 of 10, 0 s; svm/fold0, 0 s; 1 more"
    }


def test_a_quick_first_step_is_silent():
    lines: list[str] = []
    with PhaseLog(lines.append, "loading PyTorch ...", silence_s=0.2):
        pass
    assert not lines
    with PhaseLog(lines.append, "loading PyTorch ...", silence_s=0.05):
        time.sleep(0.2)
    assert lines[0].startswith("still loading PyTorch ... (")
