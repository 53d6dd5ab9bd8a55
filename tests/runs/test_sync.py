"""Cells of a run on object storage: downloads before a cell, uploads while and after it runs."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lus_ray.errors import CellError, InputError
from lus_ray.runs import layout
from lus_ray.runs.cell import Cell
from lus_ray.runs.layout import CellFolder, RunFolder, open_for_reading
from lus_ray.storage import mirror as mirrors
from tests.object_storage import serving

CELL, SAMPLE, EARLIER = Cell("second", 0), Cell("second", 0, 3), Cell("first", 0)
FOLDER, PREDICTIONS = "cells/second/fold0", "predictions/second/fold0.parquet"


@pytest.fixture
def machine(tmp_path, monkeypatch) -> Callable[[str], None]:
    return lambda name: monkeypatch.setenv("LUS_CACHE", str(tmp_path / name))


@pytest.fixture
def run(bucket, machine) -> RunFolder:
    """A run whose first arm is finished, on a node with an empty cache."""
    run = RunFolder(bucket.uri("run"))
    machine("driver")
    write(run.manifest, "{}")
    write(run.folds, "[]")
    write(run.cell(EARLIER).checkpoint / "weights.safetensors", "weights")
    write(run.cell(EARLIER).predictions, "outputs")
    run.upload("folds.json", "experiment.json", "cells", "predictions")
    machine("node")
    return run


def test_a_cell_finds_its_inputs_and_uploads_all_of_its_results(run):
    reports, cell, earlier = [], run.cell(CELL), run.cell(EARLIER)
    with cell.synced(reports.append, inputs=[earlier]) as callback:
        assert (earlier.checkpoint / "weights.safetensors").read_text() == "weights"
        assert earlier.is_finished
        write(cell.metrics, '{"epoch": 0}\n')
        callback({"epoch": 0})
        write(cell.checkpoint / "task.json", "{}")
        write(cell.predictions, "outputs")
    assert reports == [{"epoch": 0}]
    names = (f"{FOLDER}/metrics.jsonl", f"{FOLDER}/checkpoint/task.json", PREDICTIONS)
    assert objects(run) >= set(names)


def test_a_driver_downloads_a_finished_cell_without_its_weights(run, machine):
    cell = run.cell(CELL)
    write(cell.checkpoint / "weights.safetensors", "w" * (layout.MAX_WEIGHT_BYTES + 1))
    write(cell.cost, "{}")
    write(cell.predictions, "outputs")
    cell.upload()
    machine("other")
    assert not cell.is_finished
    cell.download_result()
    assert cell.is_finished
    assert [path.name for path in cell.path.rglob("*") if path.is_file()] == ["cost.json"]


def test_a_killed_cell_resumes_elsewhere_from_the_state_that_it_uploaded(run, machine):
    cell = run.cell(CELL)
    callback = cell.upload_while_running(print)
    write(cell.state, "after epoch 3")
    callback({"epoch": 3})
    machine("another")
    with cell.synced(print):
        assert cell.state.read_text() == "after epoch 3"
        cell.state.unlink()
    assert f"{FOLDER}/state.safetensors" not in objects(run)


def test_the_error_of_a_failed_cell_is_uploaded_and_removed_as_the_cell_starts_again(run):
    fail(run.cell(CELL))
    assert f"{FOLDER}/error.txt" in objects(run)
    assert PREDICTIONS not in objects(run)
    with run.cell(CELL).synced(print):
        assert f"{FOLDER}/error.txt" not in objects(run)


def test_the_state_that_a_worker_uploaded_survives_the_loss_of_the_worker(run, machine):
    cell = run.cell(CELL)
    write(cell.state, "earlier")
    cell.upload("state.safetensors")

    def train_elsewhere() -> None:
        machine("worker")
        write(cell.state, "after epoch 3")
        cell.upload("state.safetensors")
        machine("node")

    fail(cell, train_elsewhere, has_workers=True)
    cell.download()
    assert cell.state.read_text() == "after epoch 3"


@pytest.mark.slow
def test_the_start_of_a_cell_is_uploaded_before_its_first_epoch(run):
    cell = run.cell(CELL)
    with cell.synced(print):
        write(cell.starts, json.dumps([{"pid": 1}]))
        deadline = time.monotonic() + 20
        while f"{FOLDER}/starts.json" not in objects(run):
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_a_sample_of_a_search_uploads_its_own_folder_alone(run):
    cell, sample = run.cell(CELL), run.cell(SAMPLE)
    with sample.synced(print):
        write(sample.cost, "{}")
        write(sample.predictions, "outputs")
    assert f"{FOLDER}/sample3/cost.json" in objects(run)
    sample.download()
    write(cell.cost, "{}")
    write(cell.predictions, "outputs")
    cell.upload()
    names = {f"{FOLDER}/cost.json", f"{FOLDER}/sample3/cost.json", PREDICTIONS}
    assert objects(run) >= names | {"predictions/second/samples/fold0-3.parquet"}


@pytest.mark.slow
def test_lost_storage_fails_the_cell_and_keeps_its_results_here(machine, monkeypatch):
    monkeypatch.setattr(mirrors, "RETRY_S", 1.0)
    machine("node")
    with serving() as storage:
        run = RunFolder(storage.explicit(storage.uri("run")))
        write(run.manifest, "{}")
        run.upload("experiment.json")
        began, cell = time.monotonic(), run.cell(EARLIER)

        def run_while_storage_is_lost() -> None:
            with cell.synced(print):
                write(cell.predictions, "outputs")
                storage.process.kill()
                storage.process.wait()

        with pytest.raises(CellError, match="gave up"):
            run_while_storage_is_lost()
        assert time.monotonic() - began < 60
        assert cell.is_finished


def test_a_run_in_a_folder_has_no_mirror(tmp_path):
    run = RunFolder(tmp_path)
    assert (run.path, run.mirror) == (tmp_path, None)
    with run.cell(CELL).synced(print, inputs=[run.cell(EARLIER)]) as callback:
        assert callback is print
    run.download()
    run.upload_search("first")
    run.cell(CELL).download_result()
    run.cell(CELL).upload()
    assert not list(tmp_path.iterdir())
    run.manifest.write_text("{}")
    assert open_for_reading(tmp_path).path == tmp_path


def test_a_run_is_read_from_a_separate_copy_and_a_uri_without_one_is_refused(run, bucket):
    copy = open_for_reading(run.location)
    assert copy.manifest.read_text() == "{}"
    assert copy.path != run.path
    assert copy.path.name == run.path.name
    with pytest.raises(InputError, match="no run lies there"):
        open_for_reading(bucket.uri("nothing"))


def fail(
    cell: CellFolder, meanwhile: Callable[[], None] = lambda: None, *, has_workers: bool = False
) -> None:
    def run_cell() -> None:
        with cell.synced(print, has_workers=has_workers):
            meanwhile()
            write(cell.error, "no clips")
            raise CellError("no clips")

    with pytest.raises(CellError, match="no clips"):
        run_cell()


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def objects(run: RunFolder) -> set[str]:
    assert run.mirror is not None
    return set(run.mirror._store().list(""))
