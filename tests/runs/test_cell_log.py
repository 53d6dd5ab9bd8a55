"""The log of a cell: a line of metrics per epoch, also after a kill, and the cost."""

import json

import pytest

from lus_ray.runs.cell import Cell
from lus_ray.runs.cell_log import CellLog
from lus_ray.runs.layout import RunFolder


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path).cell(Cell("unet", 0))


def start(folder, *numbers):
    """A log of another start of the cell, with these epochs."""
    log = CellLog(folder, lambda values: None)
    for number in numbers:
        log.log_epoch({"epoch": number, "train_loss": 1 / (number + 1)})
    return log


def epochs(folder):
    return [json.loads(line)["epoch"] for line in folder.metrics.open()]


def cost(log):
    log.write_cost({"wall_s": 1.0}, {"dice": 0.5, "score": float("nan")})
    return json.loads(log.folder.cost.read_text())


def test_every_epoch_is_logged_and_passed_to_the_callback(folder):
    folder.path.mkdir(parents=True)
    folder.error.write_text("out of memory\n")  # of an earlier start
    reports = []
    log = CellLog(folder, reports.append)
    assert not folder.error.exists()
    assert epochs(folder) == []
    for number in range(3):
        log.log_epoch({"epoch": number})
    assert epochs(folder) == [values["epoch"] for values in reports] == [0, 1, 2]
    assert cost(log) == {"wall_s": 1.0, "epochs": 3, "val_scores": {"dice": 0.5}, "notes": []}


@pytest.mark.parametrize("first", [1, 2, 3])
def test_metrics_are_kept_up_to_the_epoch_where_a_cell_resumes(folder, first):
    start(folder, 0, 1, 2)
    with folder.metrics.open("a") as file:
        file.write('{"epoch": 3, "trai')
    log = start(folder, *range(first, 5))
    assert epochs(folder) == [0, 1, 2, 3, 4]
    notes = [f"went on after {first} epochs of an earlier start"]
    assert cost(log).items() >= {"epochs": 5, "notes": notes}.items()


def test_a_cell_that_restarts_drops_earlier_metrics(folder):
    start(folder, 0, 1, 2)
    log = start(folder, 0, 1, 0, 1)  # two inner models, one after the other
    assert epochs(folder) == [0, 1, 0, 1]
    assert (cost(log)["epochs"], cost(log)["notes"]) == (4, [])


def test_a_later_model_of_the_same_start_appends_its_metrics(folder):
    start(folder, 0, 1)
    log = CellLog(folder, lambda values: None, is_start=False, appends=True)
    for number in range(2):
        log.log_epoch({"epoch": number})
    assert epochs(folder) == [0, 1, 0, 1]
    assert log.resume_notes() == []


def test_a_cell_killed_after_its_last_epoch_keeps_every_line(folder):
    start(folder, 0, 1, 2)
    log = start(folder)
    log.notes += ("something else",)
    notes = ["went on after 3 epochs of an earlier start", "something else"]
    assert cost(log).items() >= {"epochs": 3, "notes": notes}.items()
    assert epochs(folder) == [0, 1, 2]
