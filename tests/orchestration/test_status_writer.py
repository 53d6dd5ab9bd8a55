"""The driver's file: what it says while cells run, as they end, and of every way to end."""

import json
import os
import time

import pytest

from lus_ray.monitoring import status_writer
from lus_ray.monitoring.events import Observer, Observers
from lus_ray.monitoring.run_state import RunReader
from lus_ray.monitoring.status_writer import StatusWriter
from lus_ray.runs.cell import Cell
from tests.monitoring.made import arm, run

A, B, C = Cell("a", 0), Cell("a", 1), Cell("b", 0)


def said(out):
    return json.loads((out / "campaign.json").read_text())


def test_it_is_a_watcher(tmp_path):
    assert isinstance(StatusWriter(tmp_path, [A]), Observer)


def test_it_counts_the_cells_of_the_table(tmp_path):
    done = C.predictions(tmp_path)
    done.parent.mkdir(parents=True)
    done.touch()
    with StatusWriter(tmp_path, [A, B, C]) as kept:
        kept.on_start(A)
        kept.on_report(A, {"epoch": 4, "val_score": 0.5, "time_total_s": 1.0})
        told = kept.contents()
        assert (told["cells"], told["finished"], told["waiting"]) == (3, 1, 1)
        assert told["running"]["a/fold0"] | {"since": 0} == {"since": 0, "epoch": 4, "score": 0.5}
        kept.on_end(A, error="the loss is nan")
        kept.on_start(Cell("a", 1, sample=2))
        told = kept.contents()
        assert told["failed"] == {"a/fold0": "the loss is nan"}
        assert (list(told["running"]), told["waiting"]) == (["a/fold1/2"], 0)
        kept.on_end(Cell("a", 1, sample=2), error=None)
        assert kept.contents()["finished"] == 1
        kept.on_end(B, error=None)
        assert (kept.contents()["finished"], kept.contents()["waiting"]) == (2, 0)


def test_a_cell_that_is_handed_out_again_has_not_failed(tmp_path):
    kept = StatusWriter(tmp_path, [A])
    kept.on_end(A, error="killed")
    kept.on_start(A)
    told = kept.contents()
    assert (told["failed"], list(told["running"])) == ({}, ["a/fold0"])


def test_a_score_that_is_no_number_is_none(tmp_path):
    kept = StatusWriter(tmp_path, [A])
    kept.on_start(A)
    kept.on_report(A, {"epoch": 0, "val_score": float("nan")})
    assert kept.contents()["running"]["a/fold0"]["score"] is None


def test_it_keeps_the_last_fifty_lines(tmp_path):
    kept = StatusWriter(tmp_path, [A])
    for number in range(60):
        kept.notify(f"line {number}")
    lines = kept.contents()["said"]
    assert [text for _, text in lines] == [f"line {number}" for number in range(10, 60)]
    assert abs(lines[0][0] - time.time()) < 5


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(None, "finished"), (ValueError, "failed"), (KeyboardInterrupt, "interrupted"),
     (SystemExit, "interrupted")],
)  # fmt: skip
def test_every_end_has_its_outcome(tmp_path, error, outcome):
    kept = StatusWriter(tmp_path, [A])
    try:
        with kept:
            assert said(tmp_path)["outcome"] is None
            if error is not None:
                raise error
    except BaseException as caught:
        assert type(caught) is error  # noqa: PT017
    assert said(tmp_path)["outcome"] == outcome
    assert said(tmp_path)["ended"] <= said(tmp_path)["beat"] <= time.time()
    assert not kept.thread.is_alive()


def test_news_are_written_soon_and_a_beat_without_news(tmp_path, monkeypatch):
    monkeypatch.setattr(status_writer, "LEAST_SECONDS", 0.05)
    monkeypatch.setattr(status_writer, "MOST_SECONDS", 0.2)
    pushed = []
    with StatusWriter(tmp_path, [A], push=lambda: pushed.append(said(tmp_path)["beat"])) as kept:
        kept.on_start(A)
        time.sleep(0.2)
        assert list(said(tmp_path)["running"]) == ["a/fold0"]
        before = len(pushed)
        time.sleep(0.7)
        assert 2 <= len(pushed) - before <= 8
        assert pushed == sorted(pushed)


def test_a_folder_that_cannot_be_written_never_stops_the_campaign(tmp_path, monkeypatch):
    monkeypatch.setattr(status_writer, "LEAST_SECONDS", 0.01)
    (tmp_path / "campaign.json").mkdir()  # nothing can be renamed over a folder
    with StatusWriter(tmp_path, [A]) as kept:
        kept.on_start(A)
        time.sleep(0.1)
        assert kept.thread.is_alive()
        (tmp_path / "campaign.json").rmdir()
    assert said(tmp_path)["outcome"] == "finished"


def test_the_watch_reads_what_the_driver_writes(tmp_path):
    out = run(tmp_path, arm("a"), arm("b"))
    with StatusWriter(out, [A, B, C, Cell("b", 1)]) as kept:
        both = Observers(kept)
        both.on_start(A)
        both.on_report(A, {"epoch": 2, "val_score": 0.5})
        both.on_end(B, error="no")
        both.notify("a line")
        kept._write()
        grid = RunReader(out).read()
    states = {(row.name, cell.fold): cell.state for row in grid.arms for cell in row.cells}
    assert states == {
        ("a", 0): "running", ("a", 1): "failed", ("b", 0): "waiting", ("b", 1): "waiting",
    }  # fmt: skip
    assert (grid.arms[0].cells[0].num_epochs, grid.arms[0].cells[0].score) == (3, 0.5)
    assert (grid.campaign.state, grid.campaign.process) == ("running", os.getpid())
    assert [text for _, text in grid.campaign.said] == ["a line"]
