"""What a cell writes as it learns: a line for each epoch, whatever came before a kill."""

import json

import pytest

from lus_ray.runs.cell import Cell
from lus_ray.runs.cell_log import CellLog
from lus_ray.runs.layout import RunFolder


@pytest.fixture
def folder(tmp_path):
    cell = RunFolder(tmp_path).cell(Cell("unet", 0))
    cell.path.mkdir(parents=True)
    return cell


def epochs(log, *numbers):
    for number in numbers:
        log.log_epoch({"epoch": number, "train_loss": 1 / (number + 1)})


def lines(folder):
    return [json.loads(line)["epoch"] for line in folder.metrics.open()]


def cost(log):
    log.write_cost({"wall_s": 1.0}, {"dice": 0.5, "score": float("nan")})
    return json.loads(log.folder.cost.read_text())


def nothing(values):
    """Nobody watches."""


def test_every_epoch_is_a_line_and_is_told_to_whoever_watches(folder):
    seen = []
    log = CellLog(folder, seen.append)
    assert lines(log.folder) == []
    epochs(log, 0, 1, 2)
    assert lines(log.folder) == [0, 1, 2]
    assert [values["epoch"] for values in seen] == [0, 1, 2]
    assert cost(log) == {"wall_s": 1.0, "epochs": 3, "val_scores": {"dice": 0.5}, "notes": []}


@pytest.mark.parametrize("first", [1, 2, 3])
def test_lines_before_the_epoch_where_a_cell_goes_on_are_kept_and_later_ones_dropped(folder, first):
    epochs(CellLog(folder, nothing), 0, 1, 2)
    with folder.metrics.open("a") as file:
        file.write('{"epoch": 3, "trai')  # it was killed as it wrote
    log = CellLog(folder, nothing)
    epochs(log, *range(first, 5))
    assert lines(folder) == [0, 1, 2, 3, 4]
    written = cost(log)
    assert written["epochs"] == 5
    assert written["notes"] == [f"went on after {first} epochs of an earlier start"]


def test_a_cell_that_begins_again_keeps_nothing_of_an_earlier_start(folder):
    epochs(CellLog(folder, nothing), 0, 1, 2)
    log = CellLog(folder, nothing)
    epochs(log, 0, 1, 0, 1)  # two inner models, one after the other
    assert lines(folder) == [0, 1, 0, 1]
    assert (cost(log)["epochs"], cost(log)["notes"]) == (4, [])


def test_a_cell_killed_after_its_last_epoch_keeps_every_line(folder):
    epochs(CellLog(folder, nothing), 0, 1, 2)
    log = CellLog(folder, nothing)
    log.notes += ("something else",)
    written = cost(log)
    assert lines(folder) == [0, 1, 2]
    assert written["epochs"] == 3
    assert written["notes"] == ["went on after 3 epochs of an earlier start", "something else"]


def test_an_error_of_an_earlier_start_is_gone(folder):
    folder.error.write_text("out of memory\n")
    CellLog(folder, nothing)
    assert not folder.error.exists()
