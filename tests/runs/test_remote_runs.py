"""A whole run on object storage, cell by cell on two machines, against the same one in a folder."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from lus_ray import cli
from lus_ray.data.ingest.pipeline import ingest
from lus_ray.inference import model_selection
from lus_ray.runs import predictions, run_cell
from lus_ray.runs.layout import RunFolder, open_for_reading
from lus_ray.runs.plan import RunPlan, RunRequest
from lus_ray.runs.prepare import prepare
from tests.inference.fixture_runs import LABELS, load_pixels

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def caches(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("caches")


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    store = tmp_path_factory.mktemp("clips") / "store"
    ingest("phantom", None, store, patients=12, clips=1, frames=4, size=64, masks="markers")
    return store


@pytest.fixture(scope="module")
def uri(bucket, caches, clips) -> str:
    """A run whose cells took turns on two machines; the driver is on a third."""
    uri = bucket.uri("runs", "signs")
    with pytest.MonkeyPatch.context() as machine:
        machine.setenv("LUS_CACHE", str(caches / "driver"))
        with RunFolder(uri).lock():
            plan, pixels = prepared(uri, clips), load_pixels(LABELS, clips)
            for number, cell in enumerate(plan.cells):
                folder = plan.folder_of(cell)
                inputs = [plan.folder_of(earlier) for earlier in plan.inputs_of(cell)]
                machine.setenv("LUS_CACHE", str(caches / f"node{number % 2}"))
                with folder.synced(silent, inputs=inputs) as report:
                    run_cell.run(cell, plan, pixels, report)
                machine.setenv("LUS_CACHE", str(caches / "driver"))
                assert not folder.is_finished
                folder.download_result()
                assert folder.is_finished
    return uri


@pytest.fixture(scope="module")
def folder(tmp_path_factory, clips) -> Path:
    """The same run in a folder."""
    out = tmp_path_factory.mktemp("here") / "signs"
    plan, pixels = prepared(out, clips), load_pixels(LABELS, clips)
    for cell in plan.cells:
        run_cell.run(cell, plan, pixels, silent)
    return out


@pytest.fixture
def elsewhere(caches, monkeypatch) -> None:
    """A machine that has seen nothing of the run yet."""
    monkeypatch.setenv("LUS_CACHE", str(caches / "elsewhere"))


def test_every_answer_is_that_of_the_run_in_a_folder(uri, folder, elsewhere):
    copy = open_for_reading(uri).path
    tables = sorted(path.relative_to(folder) for path in folder.glob("predictions/*/*.parquet"))
    assert len(tables) == len(LABELS.arms)
    for name in tables:
        assert predictions.read(copy / name) == predictions.read(folder / name)


def test_the_report_is_made_from_the_uri_and_lies_there(uri, folder, elsewhere):
    ended = CliRunner().invoke(cli.main, ["report", uri], catch_exceptions=False)
    assert ended.exit_code == 0
    assert ended.stdout.strip().endswith(f"report: {uri}/report.html")
    copy = open_for_reading(uri).path
    assert CliRunner().invoke(cli.main, ["report", str(folder)]).exit_code == 0
    assert results(copy) == results(folder)
    assert "<html" in (copy / "report.html").read_text()


def test_models_of_a_run_at_a_uri_are_those_of_the_folder(uri, folder, elsewhere):
    there, here = (
        model_selection.select_models(model_selection.neighbouring_runs(open_for_reading(p).path))
        for p in (uri, folder)
    )
    assert there
    assert [model.id for model in there] == [model.id for model in here]
    prints = [
        [m.fingerprint for m in found if m.id == "signs/biomarkers"] for found in (there, here)
    ]
    assert prints[0] == prints[1] != []


def test_a_driver_anywhere_finds_nothing_left_to_do(uri, caches, monkeypatch, clips):
    monkeypatch.setenv("LUS_CACHE", str(caches / "another"))
    with RunFolder(uri).lock():
        assert not prepared(uri, clips).unfinished_cells()


def prepared(out: Path | str, data: Path) -> RunPlan:
    """The plan of the first fold."""
    return prepare(RunRequest(LABELS, data=data, out=out, size="smoke", folds=(0,)))


def results(out: Path):
    """The report's arms without what they cost."""

    def plain(value):
        if isinstance(value, dict):
            return {key: plain(entry) for key, entry in value.items() if key != "cost"}
        return [plain(entry) for entry in value] if isinstance(value, list) else value

    return plain(json.loads((out / "report.json").read_text())["arms"])


def silent(values) -> None:
    """Nobody watches."""
