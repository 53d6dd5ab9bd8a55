"""campaign.json: its contents while cells run, when it is written, and every way to end."""

import contextlib
import json
import os
import time

import pytest

from lus_ray.monitoring import status_writer
from lus_ray.monitoring.events import Observers
from lus_ray.monitoring.run_state import RunReader
from lus_ray.monitoring.status_writer import StatusWriter
from lus_ray.runs.cell import Cell
from lus_ray.runs.layout import RunFolder
from tests.monitoring.unfinished_runs import arm, write_run

INTERRUPTS = (KeyboardInterrupt, SystemExit)
A, B, C = Cell("a", 0), Cell("a", 1), Cell("b", 0)


def read(out):
    return json.loads((out / "campaign.json").read_text())


def test_it_counts_the_cells_of_the_table(tmp_path):
    predictions = RunFolder(tmp_path).cell(C).predictions
    predictions.parent.mkdir(parents=True)
    predictions.touch()
    with StatusWriter(RunFolder(tmp_path), [A, B, C]) as writer:
        writer.on_start(A)
        writer.on_report(A, {"epoch": 4, "val_score": 0.5, "time_total_s": 1.0})
        status = writer.contents()
        assert (status["cells"], status["finished"], status["waiting"]) == (3, 1, 1)
        assert status["running"]["a/fold0"] | {"since": 0} == {"since": 0, "epoch": 4, "score": 0.5}
        writer.on_end(A, error="the loss is nan")
        writer.on_start(Cell("a", 1, sample=2))
        status = writer.contents()
        assert status["failed"] == {"a/fold0": "the loss is nan"}
        assert (list(status["running"]), status["waiting"]) == (["a/fold1/2"], 0)
        writer.on_end(Cell("a", 1, sample=2), error=None)
        assert writer.contents()["finished"] == 1
        writer.on_end(B, error=None)
        assert (writer.contents()["finished"], writer.contents()["waiting"]) == (2, 0)


def test_a_retried_cell_is_running_and_its_score_may_be_no_number(tmp_path):
    writer = StatusWriter(RunFolder(tmp_path), [A])
    writer.on_end(A, error="killed")
    writer.on_start(A)
    writer.on_report(A, {"epoch": 0, "val_score": float("nan")})
    status = writer.contents()
    assert (status["failed"], list(status["running"])) == ({}, ["a/fold0"])
    assert status["running"]["a/fold0"]["score"] is None


def test_it_keeps_the_last_fifty_messages(tmp_path):
    writer = StatusWriter(RunFolder(tmp_path), [A])
    for number in range(60):
        writer.notify(f"line {number}")
    messages = writer.contents()["said"]
    assert [text for _, text in messages] == [f"line {number}" for number in range(10, 60)]
    assert abs(messages[0][0] - time.time()) < 5


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(None, "finished"), (ValueError, "failed"), *[(e, "interrupted") for e in INTERRUPTS]],
)
def test_every_end_has_its_outcome(tmp_path, monkeypatch, error, outcome):
    monkeypatch.setattr(status_writer, "MIN_INTERVAL_S", 0.01)
    writer = StatusWriter(RunFolder(tmp_path), [A], dashboard="127.0.0.1:8265")
    with pytest.raises(error) if error else contextlib.nullcontext(), writer:
        assert read(tmp_path)["outcome"] is None
        assert read(tmp_path)["dashboard"] == "http://127.0.0.1:8265"
        if error is not None:
            raise error
    assert read(tmp_path)["outcome"] == outcome
    assert read(tmp_path)["ended"] <= read(tmp_path)["beat"] <= time.time()
    assert not writer.thread.is_alive()


def test_events_are_written_soon_and_a_heartbeat_without_them(tmp_path, monkeypatch):
    monkeypatch.setattr(status_writer, "MIN_INTERVAL_S", 0.02)
    monkeypatch.setattr(status_writer, "HEARTBEAT_S", 0.1)
    uploaded = []
    monkeypatch.setattr(RunFolder, "upload", lambda *_: uploaded.append(read(tmp_path)["beat"]))
    with StatusWriter(RunFolder(tmp_path), [A]) as writer:
        writer.on_start(A)
        time.sleep(0.1)
        assert list(read(tmp_path)["running"]) == ["a/fold0"]
        before = len(uploaded)
        time.sleep(0.35)
        assert 2 <= len(uploaded) - before <= 8
        assert uploaded == sorted(uploaded)


def test_a_failed_write_never_stops_the_campaign(tmp_path, monkeypatch):
    monkeypatch.setattr(status_writer, "MIN_INTERVAL_S", 0.01)
    (tmp_path / "campaign.json").mkdir()  # nothing can be renamed over a folder
    with StatusWriter(RunFolder(tmp_path), [A]) as writer:
        writer.on_start(A)
        writer._write()
        assert writer.thread.is_alive()
        (tmp_path / "campaign.json").rmdir()
    assert read(tmp_path)["outcome"] == "finished"


def test_the_reader_understands_the_writer(tmp_path):
    out = write_run(tmp_path, arm("a"), arm("b"))
    with StatusWriter(RunFolder(out), [A, B, C, Cell("b", 1)]) as writer:
        observers = Observers(writer)
        observers.on_start(A)
        observers.on_report(A, {"epoch": 2, "val_score": 0.5})
        observers.on_end(B, error="no")
        observers.notify("a line")
        writer._write()
        grid = RunReader(out).read()
    states = [cell.state for row in grid.arms for cell in row.cells]
    assert states == ["running", "failed", "waiting", "waiting"]
    assert (grid.arms[0].cells[0].num_epochs, grid.arms[0].cells[0].score) == (3, 0.5)
    assert (grid.campaign.state, grid.campaign.process) == ("running", os.getpid())
    assert [text for _, text in grid.campaign.messages] == ["a line"]
