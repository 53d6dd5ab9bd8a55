"""Cells of a run on object storage: what comes here before, and what is there afterwards."""

import json
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lus_ray.errors import CellError
from lus_ray.experiment import Arm, Experiment, Recipe
from lus_ray.folds import rotating
from lus_ray.runs import sync
from lus_ray.runs.cell import Cell, Work
from lus_ray.storage.mirror import Home
from lus_ray.tasks.sklearn_expert import Expert
from tests.object_storage import Bucket, serving

CELL, EARLIER = Cell("second", 0), Cell("first", 0)
FOLDER = "cells/second/fold0"


@pytest.fixture
def work(bucket, tmp_path, monkeypatch) -> Work:
    """A campaign of two arms, the second of which begins with the first; the first is finished."""
    monkeypatch.setenv("LUS_CACHE", str(tmp_path / "driver"))
    home = Home(bucket.uri("run"))
    write(home.local / "experiment.json", "{}")
    write(home.local / "folds.json", "[]")
    write(home.local / "cells/first/fold0/checkpoint/weights.safetensors", "weights")
    write(home.local / "predictions/first/fold0.parquet", "said")
    home.push("folds.json", "experiment.json", "cells", "predictions")
    return Work(two_arms(), "smoke", (), (), "f", home.local, home)


@pytest.fixture
def at_node(work, tmp_path, monkeypatch):
    """The same campaign as a machine of the cluster sees it."""
    monkeypatch.setenv("LUS_CACHE", str(tmp_path / "node"))
    return sync.here(work)


def test_a_cell_finds_its_inputs_and_leaves_everything_at_home(work, at_node, tmp_path):
    told = []
    with sync.carried(CELL, at_node, told.append) as report:
        earlier = EARLIER.folder(at_node.out)
        assert (earlier / "checkpoint/weights.safetensors").read_text() == "weights"
        assert EARLIER.finished(at_node.out)
        write(at_node.out / FOLDER / "metrics.jsonl", '{"epoch": 0}\n')
        report({"epoch": 0})
        write(at_node.out / FOLDER / "checkpoint/task.json", "{}")
        write(CELL.predictions(at_node.out), "said")
    assert told == [{"epoch": 0}]
    assert work.out.is_relative_to(tmp_path / "driver")
    assert at_node.out.is_relative_to(tmp_path / "node")
    assert names(work.home) >= {
        f"{FOLDER}/metrics.jsonl",
        f"{FOLDER}/checkpoint/task.json",
        "predictions/second/fold0.parquet",
    }


def test_a_driver_sees_a_finished_cell_without_its_weights(work, tmp_path, monkeypatch):
    write(work.out / FOLDER / "checkpoint/weights.safetensors", "w" * (sync.MOST_WEIGHTS + 1))
    write(work.out / FOLDER / "cost.json", "{}")
    write(CELL.predictions(work.out), "said")
    work.home.push(FOLDER, sync.predictions(CELL))
    monkeypatch.setenv("LUS_CACHE", str(tmp_path / "other"))
    driver = sync.here(work)
    assert not CELL.finished(driver.out)
    sync.fetch_result(CELL, driver)
    assert CELL.finished(driver.out)
    assert files(driver.out / FOLDER) == {"cost.json"}


def test_a_killed_cell_goes_on_elsewhere_from_the_state_that_it_brought_home(
    at_node, tmp_path, monkeypatch
):
    monkeypatch.setattr(sync, "PUSH_S", 0.0)
    report = sync.live(at_node.home, FOLDER, print)
    write(at_node.out / FOLDER / "state.safetensors", "after epoch 3")
    report({"epoch": 3})
    monkeypatch.setenv("LUS_CACHE", str(tmp_path / "another"))
    elsewhere = sync.here(at_node)
    with sync.carried(CELL, elsewhere, print):
        state = elsewhere.out / FOLDER / "state.safetensors"
        assert state.read_text() == "after epoch 3"
        state.unlink()
    assert f"{FOLDER}/state.safetensors" not in names(at_node.home)


def test_an_error_of_an_earlier_start_is_gone_as_the_cell_begins(at_node):
    write(at_node.out / FOLDER / "error.txt", "once")
    at_node.home.push(FOLDER)
    with sync.carried(CELL, at_node, print):
        assert f"{FOLDER}/error.txt" not in names(at_node.home)


def test_the_error_of_a_failed_cell_is_at_home_and_the_cell_is_not_finished(at_node):
    with pytest.raises(CellError, match="no clips"):
        fail(at_node)
    assert f"{FOLDER}/error.txt" in names(at_node.home)
    assert "predictions/second/fold0.parquet" not in names(at_node.home)


def test_the_state_that_a_worker_brought_home_outlives_the_cell_that_lost_the_worker(
    at_node, tmp_path, monkeypatch
):
    arms = tuple(
        replace(arm, recipe=Recipe(epochs=1, batch=2, lr=0.1, workers=2))
        for arm in at_node.experiment.arms
    )
    work = replace(at_node, experiment=replace(at_node.experiment, arms=arms))
    write(work.out / FOLDER / "state.safetensors", "earlier")
    work.home.push(FOLDER)

    def as_worker() -> None:
        with monkeypatch.context() as machine:
            machine.setenv("LUS_CACHE", str(tmp_path / "worker"))
            write(work.home.local / FOLDER / "state.safetensors", "after epoch 3")
            work.home.push(f"{FOLDER}/state.safetensors")

    with pytest.raises(CellError, match="no clips"):
        fail(work, as_worker)
    work.home.pull(FOLDER)
    assert (work.out / FOLDER / "state.safetensors").read_text() == "after epoch 3"


def test_where_and_when_a_cell_began_is_at_home_before_its_first_epoch(at_node):
    with sync.carried(CELL, at_node, print):
        write(at_node.out / FOLDER / "starts.json", json.dumps([{"pid": 1}]))
        patience = time.monotonic() + 20
        while f"{FOLDER}/starts.json" not in names(at_node.home):
            assert time.monotonic() < patience
            time.sleep(0.1)


def test_a_cell_of_a_search_brings_its_own_folder_alone(at_node):
    sample = Cell("second", 0, 3)
    with sync.carried(sample, at_node, print):
        write(sample.folder(at_node.out) / "cost.json", "{}")
        write(sample.predictions(at_node.out), "said")
    assert f"{FOLDER}/sample3/cost.json" in names(at_node.home)
    sync.fetch_whole(sample, at_node)
    write(at_node.out / FOLDER / "cost.json", "{}")
    write(CELL.predictions(at_node.out), "said")
    sync.bring_whole(CELL, at_node)
    assert names(at_node.home) >= {
        f"{FOLDER}/cost.json",
        f"{FOLDER}/sample3/cost.json",
        "predictions/second/fold0.parquet",
        "predictions/second/samples/fold0-3.parquet",
    }


@pytest.mark.slow
def test_storage_that_goes_away_fails_the_cell_and_leaves_no_finished_one(bucket, work):
    with serving() as storage:
        uri = storage.explicit(storage.uri("run"))
        home = Home(uri, patience_s=3)
        mine = replace(work, home=home, out=home.local)
        write(home.local / "experiment.json", "{}")
        home.push("experiment.json")
        own = Cell("first", 0)
        began = time.monotonic()
        with pytest.raises(CellError, match="gave up"):
            finish_without(storage, own, mine)
        assert time.monotonic() - began < 60
        assert own.predictions(home.local).exists()


def test_without_a_home_nothing_is_carried(tmp_path):
    work = Work(two_arms(), "smoke", (), (), "f", tmp_path)
    assert sync.here(work) is work
    with sync.carried(CELL, work, print) as report:
        assert report is print
    sync.fetch_run(None)
    sync.fetch_result(CELL, work)
    sync.bring_search("first", work)
    assert not list(tmp_path.iterdir())


def fail(work: Work, meanwhile: Callable[[], None] = lambda: None) -> None:
    with sync.carried(CELL, work, print):
        meanwhile()
        write(work.out / FOLDER / "error.txt", "no clips")
        raise CellError("no clips")


def finish_without(storage: Bucket, cell: Cell, work: Work) -> None:
    """Run a cell whose storage ends before it does."""
    with sync.carried(cell, work, print):
        write(cell.folder(work.out) / "checkpoint/task.json", "{}")
        write(cell.predictions(work.out), "said")
        storage.process.send_signal(signal.SIGKILL)
        storage.process.wait()


def two_arms() -> Experiment:
    """The second arm begins with the weights of the first."""
    arms = (Arm("first", Expert), Arm("second", Expert, start="first"))
    return Experiment("two", "Two arms", rotating(3), arms, ())


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def files(folder: Path) -> set[str]:
    """Files of a folder by their path in it."""
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def names(home: Home) -> set[str]:
    """What lies at the URI."""
    return set(home._objects().below(""))
