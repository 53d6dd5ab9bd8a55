"""The grid of a run folder: the state of each cell, its progress, and the time left."""

import json
import os
import socket
import subprocess
import time
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lus_ray.monitoring.run_state import RunReader, estimate_remaining_s
from lus_ray.monitoring.states import ArmRow, CellState, RunGrid
from lus_ray.monitoring.terminal import format_grid
from tests.monitoring.unfinished_runs import (
    NOW,
    arm,
    running_cells,
    write_cell,
    write_run,
    write_status,
)

IN_A = running_cells("a/fold0")
LAST_BEAT = NOW - 61
SEARCH = {"search": {"samples": 3}}
OF_SAMPLE = running_cells("a/fold0/1")


def read(out: Path, now: float = NOW) -> RunGrid:
    return RunReader(out, clock=lambda: now).read()


def only_cell(grid: RunGrid) -> CellState:
    ((cell,),) = (row.cells for row in grid.arms)
    return cell


def states(grid: RunGrid) -> list[str]:
    return [cell.state for row in grid.arms for cell in row.cells]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A run of one cell."""
    return write_run(tmp_path / "run", arm("a"), num_folds=1)


@pytest.mark.parametrize(
    ("settings", "cells", "status", "expected"),
    [
        ({}, [{"scores": [0.5], "finished": True, "error": "of an earlier start"}],
         {"running": IN_A},
         {"state": "finished", "score": 0.75, "seconds": 20.0, "curve": ((1, 0.5),),
          "node": "node-a", "num_starts": 1, "num_epochs": 1, "planned": 10}),
        ({}, [{"scores": [0.5, None, 0.7], "num_starts": 2}], {"running": IN_A},
         {"state": "running", "num_epochs": 3, "score": 0.7, "curve": ((1, 0.5), (3, 0.7)),
          "since": NOW - 50, "num_starts": 2}),
        ({}, [{"scores": [0.5]}], {"beat": LAST_BEAT, "running": IN_A}, {"state": "interrupted"}),
        ({}, [], {"beat": LAST_BEAT, "running": IN_A}, {"state": "interrupted"}),
        ({}, [{"scores": [0.5]}], {}, {"state": "waiting"}),
        ({}, [{"error": "the loss is nan; lower it"}], {"outcome": "failed", "ended": NOW - 1},
         {"state": "failed", "error": "the loss is nan; lower it"}),
        ({}, [{"scores": [0.5], "num_starts": 4}], {"failed": {"a/fold0": "killed 3 times"}},
         {"state": "failed", "error": "killed 3 times"}),
        ({}, [{"error": "the disk was full"}], {"began": time.time() + 1e5, "beat": NOW * 1e6},
         {"state": "waiting", "error": "the disk was full"}),  # retried by a later campaign
        ({"crossfit": 3}, [], {}, {"planned": 30}),
        (SEARCH, [{"sample": 0, "scores": [0.1], "finished": True},
                  {"sample": 1, "scores": [0.2, 0.3]}], {"running": OF_SAMPLE},
         {"state": "running", "samples": (1, 3), "curve": ((1, 0.2), (2, 0.3))}),
        (SEARCH, [{"sample": 0, "scores": [0.1], "finished": True}, {"scores": [0.4]}],
         {"running": IN_A}, {"state": "running", "curve": ((1, 0.4),)}),  # trained again
        (SEARCH, [{"sample": 0, "error": "the loss is nan"}],
         {"running": OF_SAMPLE, "failed": {"a/fold0/0": "the loss is nan"}}, {"state": "waiting"}),
        (SEARCH, [{"sample": 0, "error": "the loss is nan"}, {"sample": 1}],
         {"running": OF_SAMPLE}, {"state": "running"}),
    ],
)  # fmt: skip
def test_the_state_of_a_cell_follows_from_its_files_and_its_driver(
    tmp_path, settings, cells, status, expected
):
    out = write_run(tmp_path, arm("a", **settings), num_folds=1)
    for files in cells:
        write_cell(out, "a", 0, **files)
    write_status(out, **status)
    cell = only_cell(read(out))
    assert {name: getattr(cell, name) for name in expected} == expected


def test_a_campaign_without_a_heartbeat_ended_with_its_last_one(out):
    write_status(out, beat=LAST_BEAT)
    grid = read(out)
    assert (grid.campaign.state, grid.campaign.ended) == ("gone", LAST_BEAT)
    assert grid.elapsed_s == 39


def test_a_driver_on_this_machine_is_gone_as_soon_as_its_process_is(out):
    ended = subprocess.Popen(["true"])
    ended.wait()
    for process, state in ((os.getpid(), "running"), (ended.pid, "gone")):
        write_status(out, host=socket.gethostname(), process=process)
        assert read(out).campaign.state == state


def test_cells_are_blocked_by_failed_inputs_on_that_fold_alone(tmp_path):
    out = write_run(tmp_path, arm("a"), arm("b", reads="a"), arm("c", members=["b"]), arm("d"))
    write_cell(out, "a", 1, error="no")
    write_status(out)
    assert [[cell.state for cell in row.cells] for row in read(out).arms] == [
        ["waiting", "failed"], ["waiting", "blocked"], ["waiting", "blocked"], ["waiting"] * 2,
    ]  # fmt: skip


def test_without_a_status_recent_files_mean_running(tmp_path):
    out = write_run(tmp_path, arm("a"), num_folds=3)
    write_cell(out, "a", 0, scores=[0.5], num_starts=0, finished=True)
    write_cell(out, "a", 1, scores=[0.5], num_starts=0)
    assert states(read(out, now=time.time())) == ["finished", "running", "waiting"]
    assert states(read(out, now=time.time() + 500)) == ["finished", "interrupted", "waiting"]


def test_without_validation_the_curve_is_the_training_loss(out):
    folder = write_cell(out, "a", 0)
    (folder / "metrics.jsonl").write_text('{"epoch": 0, "train_loss": 0.5, "val_score": NaN}\n')
    cell = only_cell(read(out))
    assert (cell.curve, cell.curve_of, cell.score) == (((1, 0.5),), "training loss", None)


def test_only_changed_files_are_opened_again(out):
    folder = write_cell(out, "a", 0, scores=[0.5])
    write_status(out, running=IN_A)
    reader = RunReader(out, clock=lambda: NOW)
    with mock.patch.object(Path, "read_text", autospec=True, side_effect=Path.read_text) as opened:
        reader.read()
        assert [call.args[0].name for call in opened.call_args_list] == ["campaign.json"]
        with (folder / "metrics.jsonl").open("a") as file:
            file.write('{"epoch": 1, "val_score": 0.75}\n')
        assert only_cell(reader.read()).score == 0.75
        assert "experiment.json" not in [call.args[0].name for call in opened.call_args_list]


def test_a_truncated_status_keeps_the_last_one(out):
    write_cell(out, "a", 0)
    write_status(out, running=IN_A)
    reader = RunReader(out, clock=lambda: NOW)
    (out / "campaign.json").write_text('{"process": 1, "runn')
    assert states(reader.read()) == ["running"]


def test_a_copy_is_renewed_at_most_every_ten_seconds(out):
    times, renewed = iter(range(0, 300, 3)), []
    reader = RunReader(out, clock=lambda: float(next(times)), refresh=lambda: renewed.append(1))
    for _ in range(6):
        reader.read()
    assert 2 <= len(renewed) <= 3


def test_a_recent_grid_is_returned_again(out):
    times = iter([0.0, 5.0, 5.5, 6.5])
    reader = RunReader(out, clock=lambda: next(times), max_age_s=1)
    grid = reader.read()
    assert reader.read() is grid
    assert reader.read().now == 6.5


def test_hundreds_of_cells_are_read_in_a_fraction_of_a_second(tmp_path):
    out = write_run(tmp_path, *(arm(f"arm {n}") for n in range(80)), num_folds=5)
    for n in range(60):
        write_cell(out, f"arm {n}", n % 5, scores=[0.5] * 20, finished=n < 40)
    names = [f"arm {n}/fold{n % 5}" for n in range(40, 60)]
    write_status(out, running=running_cells(*names))
    reader = RunReader(out, clock=lambda: NOW)
    began = time.process_time()
    grid = reader.read()
    assert time.process_time() - began < 0.3
    assert (grid.num_cells, grid.counts["finished"], grid.counts["running"]) == (400, 40, 20)


JUNK = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text("a0é", max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("a0", max_size=8), inner),
    max_leaves=6,
)
KEYS = ("process", "host", "dashboard", "began", "beat", "ended", "outcome", "running", "failed",
        "said")  # fmt: skip


@pytest.mark.slow
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(KEYS), JUNK))
def test_no_status_file_stops_the_grid(tmp_path_factory, status):
    out = write_run(tmp_path_factory.mktemp("junk"), arm("a"))
    (out / "campaign.json").write_text(json.dumps(status))
    grid = read(out)
    assert grid.num_cells == 2
    json.dumps(grid.contents(), allow_nan=False)


DONE, WAITS = CellState(0, "finished", seconds=30.0), CellState(1, "waiting")
STARTED = CellState(0, "running", planned=10, since=100.0)
HALF = CellState(0, "running", num_epochs=5, planned=10, since=100.0)
ENDING = CellState(0, "running", num_epochs=10, planned=10, since=0.0)
SLOW = CellState(0, "finished", seconds=300.0)
FOUR_ARMS = {"a": [DONE], "b": [SLOW], "c": [WAITS], "d": [ENDING]}


@pytest.mark.parametrize(
    ("cells", "kinds", "now", "expected"),
    [
        ({"a": [HALF]}, {}, 160.0, 60.0),
        ({"a": [DONE, STARTED]}, {}, 110.0, 20.0),
        ({"a": [DONE, STARTED]}, {}, 500.0, 0.0),
        (FOUR_ARMS, {"a": "Expert", "b": "Network", "c": "Network"}, 9.0, 300.0),
        (FOUR_ARMS, {}, 9.0, 165.0),
        ({"a": [DONE, WAITS]}, {}, 9.0, None),
        ({"a": [STARTED]}, {}, 9.0, None),
    ],
)  # fmt: skip
def test_the_time_left_is_estimated_from_finished_epochs_and_cells(cells, kinds, now, expected):
    rows = [ArmRow(name, None, False, tuple(row)) for name, row in cells.items()]
    assert estimate_remaining_s(rows, kinds, now=now) == expected


def test_every_seed_of_a_fold_is_a_column_of_its_own(tmp_path):
    out = write_run(tmp_path, arm("a", **SEARCH), arm("b", reads="a"), seeds=2)
    for fold, seed in ((0, 0), (1, 0), (1, 1)):
        write_cell(out, "a", fold, seed=seed, finished=True)
    write_cell(out, "a", 0, seed=1, scores=[0.5])
    write_cell(out, "b", 1, seed=1, error="the loss is nan")
    write_status(out, running=running_cells("a/fold0-seed1"))
    grid = read(out)
    assert grid.columns == ("fold 0", "fold 1", "fold 0, seed 1", "fold 1, seed 1")
    assert states(grid) == [
        "finished", "finished", "running", "finished", "waiting", "waiting", "waiting", "failed",
    ]  # fmt: skip
    assert grid.arms[0].cells[2].path == "cells/a/fold0-seed1"
    assert (grid.num_cells, grid.counts["finished"]) == (8, 3)
    text = format_grid(grid)
    assert "fold 1, seed 1" in text.splitlines()[4]
    assert "✗ b/fold1-seed1: the loss is nan" in text
