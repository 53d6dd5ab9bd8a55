"""The grid of a run folder: what state each cell is in, and how far."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lus_ray.errors import StoreError
from lus_ray.monitoring.run_state import RunReader
from lus_ray.monitoring.states import CellState, RunGrid
from tests.monitoring.made import NOW, arm, cell, run, running, signs


def read(out: Path, now: float = NOW) -> RunGrid:
    return RunReader(out, clock=lambda: now).read()


def only(grid: RunGrid) -> CellState:
    ((found,),) = (row.cells for row in grid.arms)
    return found


def states(grid: RunGrid) -> list[str]:
    return [found.state for row in grid.arms for found in row.cells]


@pytest.fixture
def one(tmp_path: Path) -> Path:
    """A run of one cell."""
    return run(tmp_path / "run", arm("a"), num_folds=1)


def test_a_prediction_file_says_finished_whatever_else_is_there(one):
    cell(one, "a", 0, scores=[0.5, 0.7], finished=True, error="of an earlier start")
    signs(one, running=running("a/fold0"))
    found = only(read(one))
    assert (found.state, found.score, found.seconds) == ("finished", 0.75, 20.0)
    assert found.curve == ((1, 0.5), (2, 0.7))
    assert (found.node, found.num_starts, found.num_epochs, found.planned) == ("node-a", 1, 2, 10)


def test_a_cell_that_a_live_driver_names_is_running(one):
    cell(one, "a", 0, scores=[0.5, None, 0.7], num_starts=2)
    signs(one, running=running("a/fold0"))
    found = only(read(one))
    assert (found.state, found.num_epochs, found.score) == ("running", 3, 0.7)
    assert found.curve == ((1, 0.5), (3, 0.7))
    assert (found.since, found.num_starts) == (NOW - 50, 2)


def test_a_cell_that_was_named_by_a_driver_now_silent_is_interrupted(one):
    cell(one, "a", 0, scores=[0.5])
    signs(one, beat=NOW - 61, running=running("a/fold0"))
    grid = read(one)
    assert (states(grid), grid.campaign.state) == (["interrupted"], "gone")
    assert grid.campaign.ended == NOW - 61
    assert grid.elapsed_s == 39


def test_a_cell_that_a_lost_driver_had_handed_out_is_interrupted_before_it_left_a_trace(one):
    signs(one, beat=NOW - 61, running=running("a/fold0"))
    assert states(read(one)) == ["interrupted"]


def test_a_driver_of_this_machine_is_gone_as_soon_as_its_process_is(one):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for process, state in ((os.getpid(), "running"), (ended.pid, "gone")):
        signs(one, host=socket.gethostname(), process=process)
        assert read(one).campaign.state == state


def test_a_cell_that_began_and_waits_under_a_live_driver_is_waiting(one):
    cell(one, "a", 0, scores=[0.5])
    signs(one)
    assert states(read(one)) == ["waiting"]


def test_a_cell_that_raised_shows_the_last_line_of_its_error(one):
    cell(one, "a", 0, error="the loss is nan; lower the learning rate")
    signs(one, outcome="failed", ended=NOW - 1)
    found = only(read(one))
    assert (found.state, found.error) == ("failed", "the loss is nan; lower the learning rate")


def test_an_error_of_an_earlier_campaign_waits_for_another_try(one):
    cell(one, "a", 0, error="the disk was full")
    later = time.time() + 100
    signs(one, began=later, beat=later)
    found = only(read(one, now=later))
    assert (found.state, found.error) == ("waiting", "the disk was full")


def test_a_cell_that_died_too_often_has_failed_without_a_file_of_its_own(one):
    cell(one, "a", 0, scores=[0.5], num_starts=4)
    signs(one, failed={"a/fold0": "its process was killed 3 times"})
    found = only(read(one))
    assert (found.state, found.error) == ("failed", "its process was killed 3 times")


def test_cells_whose_inputs_failed_are_blocked_on_that_fold_alone(tmp_path):
    out = run(tmp_path, arm("a"), arm("b", reads="a"), arm("c", members=["b"]), arm("d"))
    cell(out, "a", 1, error="no")
    signs(out)
    by_arm = {row.name: [found.state for found in row.cells] for row in read(out).arms}
    assert by_arm == {
        "a": ["waiting", "failed"],
        "b": ["waiting", "blocked"],
        "c": ["waiting", "blocked"],
        "d": ["waiting", "waiting"],
    }


def test_a_run_of_an_earlier_version_is_told_by_its_files(tmp_path):
    out = run(tmp_path, arm("a"), num_folds=3)
    cell(out, "a", 0, scores=[0.5], num_starts=0, finished=True)
    cell(out, "a", 1, scores=[0.5], num_starts=0)
    assert states(read(out, now=time.time())) == ["finished", "running", "waiting"]
    assert states(read(out, now=time.time() + 500)) == ["finished", "interrupted", "waiting"]


def test_samples_of_a_search_are_folded_into_their_cell(tmp_path):
    out = run(tmp_path, arm("a", search={"samples": 3}), num_folds=1)
    cell(out, "a", 0, sample=0, scores=[0.1], finished=True)
    cell(out, "a", 0, sample=1, scores=[0.2, 0.3])
    signs(out, running=running("a/fold0/1"))
    found = only(read(out))
    assert (found.state, found.samples) == ("running", (1, 3))
    assert found.curve == ((1, 0.2), (2, 0.3))


def test_a_sample_that_failed_does_not_fail_its_cell(tmp_path):
    out = run(tmp_path, arm("a", search={"samples": 2}), num_folds=1)
    cell(out, "a", 0, sample=0, error="the loss is nan")
    signs(out, running=running("a/fold0/1"), failed={"a/fold0/0": "the loss is nan"})
    assert states(read(out)) == ["waiting"]
    cell(out, "a", 0, sample=1)
    assert states(read(out)) == ["running"]


def test_where_nothing_is_validated_the_curve_is_the_training_loss(one):
    folder = cell(one, "a", 0)
    (folder / "metrics.jsonl").write_text('{"epoch": 0, "train_loss": 0.5, "val_score": NaN}\n')
    found = only(read(one))
    assert (found.curve, found.curve_of, found.score) == (((1, 0.5),), "training loss", None)


def test_crossfit_trains_its_epochs_as_often_as_it_has_parts(tmp_path):
    out = run(tmp_path, arm("a", crossfit=3), num_folds=1)
    assert only(read(out)).planned == 30


def test_the_rest_takes_as_long_as_what_is_known(tmp_path):
    out = run(tmp_path, arm("a"), num_folds=4)
    cell(out, "a", 0, finished=True, seconds=80)
    cell(out, "a", 1, scores=[0.5] * 5)  # 5 of 10 epochs in 50 s: another 50
    cell(out, "a", 2, began=NOW - 20)  # 60 of 80 s are left
    signs(out, running=running("a/fold1") | running("a/fold2", since=NOW - 20))
    assert read(out).left_s == pytest.approx((50 + 60 + 80) / 2)


def test_only_what_changed_is_opened_again(one, monkeypatch):
    folder = cell(one, "a", 0, scores=[0.5])
    signs(one, running=running("a/fold0"))
    reader = RunReader(one, clock=lambda: NOW)
    opened: list[str] = []
    real = Path.read_text

    def noted(path: Path, *args: object, **more: object) -> str:
        opened.append(path.name)
        return real(path, *args, **more)

    monkeypatch.setattr(Path, "read_text", noted)
    reader.read()
    assert opened == ["campaign.json"]
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 1, "val_score": 0.75}\n')
    assert only(reader.read()).score == 0.75
    assert "experiment.json" not in opened


def test_a_campaign_file_cut_short_leaves_what_was_known(one):
    cell(one, "a", 0)
    signs(one, running=running("a/fold0"))
    reader = RunReader(one, clock=lambda: NOW)
    (one / "campaign.json").write_text('{"process": 1, "runn')
    assert states(reader.read()) == ["running"]


def test_a_folder_that_is_no_run_is_refused_in_one_line(tmp_path):
    with pytest.raises(StoreError, match=r"no experiment.json here; name a folder that"):
        RunReader(tmp_path)
    (tmp_path / "experiment.json").write_text("{}")
    (tmp_path / "folds.json").write_text("{}")
    with pytest.raises(StoreError, match="no record of a run"):
        RunReader(tmp_path)


def test_a_copy_is_renewed_every_ten_seconds_at_most(one):
    times, renewed = iter(range(0, 300, 3)), []
    reader = RunReader(one, clock=lambda: float(next(times)), refresh=lambda: renewed.append(1))
    for _ in range(6):
        reader.read()
    assert 2 <= len(renewed) <= 3


def test_many_who_ask_at_once_cost_one_reading(one):
    times = iter([0.0, 5.0, 5.5, 6.5])
    reader = RunReader(one, clock=lambda: next(times), again_s=1)
    grid = reader.read()
    assert reader.read() is grid
    assert reader.read().now == 6.5


@pytest.mark.slow
def test_two_thousand_cells_are_read_again_in_a_moment(tmp_path):
    out = run(tmp_path, *(arm(f"arm {n}") for n in range(400)), num_folds=5)
    for n in range(400):
        for fold in range(5):
            if n < 200:
                cell(out, f"arm {n}", fold, scores=[0.5] * 20, finished=True)
            elif n < 300:
                cell(out, f"arm {n}", fold, scores=[0.5] * 20)
    signs(
        out, running=running(*(f"arm {n}/fold{fold}" for n in range(200, 300) for fold in (0, 1)))
    )
    reader = RunReader(out, clock=lambda: NOW)
    began = time.perf_counter()
    grid = reader.read()
    assert time.perf_counter() - began < 1.0
    assert grid.counts["finished"] == 1000
    assert grid.counts["running"] == 200
    assert grid.num_cells == 2000


JUNK = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text("a0é", max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("a0", max_size=8), inner),
    max_leaves=6,
)
KEYS = ("process", "host", "dashboard", "began", "beat", "ended", "outcome", "running", "failed",
        "said")  # fmt: skip


@given(st.dictionaries(st.sampled_from(KEYS), JUNK))
def test_no_campaign_file_stops_the_grid(tmp_path_factory, said):
    out = run(tmp_path_factory.mktemp("junk"), arm("a"))
    (out / "campaign.json").write_text(json.dumps(said))
    grid = read(out)
    assert grid.num_cells == 2
    json.dumps(grid.contents(), allow_nan=False)
