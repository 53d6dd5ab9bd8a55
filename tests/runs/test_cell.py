"""What a cell writes as it learns: a line for each epoch, whatever came before a kill."""

import json

import pytest

from lus_ray.runs.cell import Log


def epochs(log, *numbers):
    for number in numbers:
        log.epoch({"epoch": number, "train_loss": 1 / (number + 1)})


def lines(folder):
    return [json.loads(line)["epoch"] for line in (folder / "metrics.jsonl").open()]


def cost(log):
    log.write_cost({"wall_s": 1.0}, {"dice": 0.5, "score": float("nan")})
    return json.loads((log.folder / "cost.json").read_text())


def nothing(values):
    """Nobody watches."""


def test_every_epoch_is_a_line_and_is_told_to_whoever_watches(tmp_path):
    seen = []
    log = Log(tmp_path / "cell", seen.append)
    assert lines(log.folder) == []
    epochs(log, 0, 1, 2)
    assert lines(log.folder) == [0, 1, 2]
    assert [values["epoch"] for values in seen] == [0, 1, 2]
    assert cost(log) == {"wall_s": 1.0, "epochs": 3, "val_scores": {"dice": 0.5}, "notes": []}


@pytest.mark.parametrize("first", [1, 2, 3])
def test_lines_before_the_epoch_where_a_cell_goes_on_are_kept_and_later_ones_dropped(
    tmp_path, first
):
    epochs(Log(tmp_path, nothing), 0, 1, 2)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 3, "trai')  # it was killed as it wrote
    log = Log(tmp_path, nothing)
    epochs(log, *range(first, 5))
    assert lines(tmp_path) == [0, 1, 2, 3, 4]
    written = cost(log)
    assert written["epochs"] == 5
    assert written["notes"] == [f"went on after {first} epochs of an earlier start"]


def test_a_cell_that_begins_again_keeps_nothing_of_an_earlier_start(tmp_path):
    epochs(Log(tmp_path, nothing), 0, 1, 2)
    log = Log(tmp_path, nothing)
    epochs(log, 0, 1, 0, 1)  # two inner models, one after the other
    assert lines(tmp_path) == [0, 1, 0, 1]
    assert (cost(log)["epochs"], cost(log)["notes"]) == (4, [])


def test_a_cell_killed_after_its_last_epoch_keeps_every_line(tmp_path):
    epochs(Log(tmp_path, nothing), 0, 1, 2)
    log = Log(tmp_path, nothing)
    log.notes += ("something else",)
    written = cost(log)
    assert lines(tmp_path) == [0, 1, 2]
    assert written["epochs"] == 3
    assert written["notes"] == ["went on after 3 epochs of an earlier start", "something else"]


def test_an_error_of_an_earlier_start_is_gone(tmp_path):
    (tmp_path / "error.txt").write_text("out of memory\n")
    Log(tmp_path, nothing)
    assert not (tmp_path / "error.txt").exists()
