"""A whole run on object storage, cell by cell on two machines, against the same one in a folder."""

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
from tests.orchestration.faults.command import results

pytestmark = pytest.mark.slow


EXPERIMENT = LABELS.only(("prior", "tree"))
"""Four arms: two that read another one, one that trains, one of rules."""


@pytest.fixture(scope="module")
def caches(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("caches")


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    store = tmp_path_factory.mktemp("clips") / "store"
    ingest("phantom", None, store, patients=8, clips=1, frames=4, size=64, masks="none")
    return store


@pytest.fixture(scope="module")
def uri(bucket, caches, clips) -> str:
    """A run whose cells took turns on two machines; the driver is on a third."""
    uri = bucket.uri("runs", "signs")
    with pytest.MonkeyPatch.context() as machine:
        machine.setenv("LUS_CACHE", str(caches / "driver"))
        with RunFolder(uri).lock():
            plan, pixels = prepared(uri, clips), load_pixels(EXPERIMENT, clips)
            for number, cell in enumerate(plan.cells):
                folder = plan.folder_of(cell)
                inputs = [plan.folder_of(earlier) for earlier in plan.inputs_of(cell)]
                machine.setenv("LUS_CACHE", str(caches / f"node{number % 2}"))
                with folder.synced(ignore, inputs=inputs) as report:
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
    plan, pixels = prepared(out, clips), load_pixels(EXPERIMENT, clips)
    for cell in plan.cells:
        run_cell.run(cell, plan, pixels, ignore)
    return out


@pytest.fixture
def elsewhere(caches, monkeypatch) -> None:
    """A machine with an empty cache."""
    monkeypatch.setenv("LUS_CACHE", str(caches / "elsewhere"))


def test_predictions_equal_those_of_the_run_in_a_folder(uri, folder, elsewhere):
    copy = open_for_reading(uri).path
    tables = sorted(path.relative_to(folder) for path in folder.glob("predictions/*/*.parquet"))
    assert len(tables) == len(EXPERIMENT.arms)
    for name in tables:
        assert predictions.read(copy / name) == predictions.read(folder / name)


def test_report_and_pack_are_written_to_the_uri(uri, folder, elsewhere):
    remote, local = (
        CliRunner().invoke(cli.main, ["report", str(out), "--pack"], catch_exceptions=False)
        for out in (uri, folder)
    )
    assert remote.exit_code == local.exit_code == 0
    assert remote.stdout.strip().endswith(f"report: {uri}/report.html\npack: {uri}/pack")
    copy = open_for_reading(uri).path
    assert results(copy) == results(folder)
    for page in ("report.html", "pack/model_card.html", "pack/tripod_ai.html"):
        assert "<html" in (copy / page).read_text()


def test_models_of_a_run_at_a_uri_are_those_of_the_folder(uri, folder, elsewhere):
    remote, local = (
        model_selection.select_models(model_selection.neighbouring_runs(open_for_reading(p).path))
        for p in (uri, folder)
    )
    assert [model.id for model in remote] == [model.id for model in local]
    fingerprints = ({model.id: model.fingerprint for model in models} for models in (remote, local))
    assert len({of["signs/biomarkers"] for of in fingerprints}) == 1


def test_another_driver_finds_every_cell_finished(uri, caches, monkeypatch, clips):
    monkeypatch.setenv("LUS_CACHE", str(caches / "another"))
    with RunFolder(uri).lock():
        assert not prepared(uri, clips).unfinished_cells()


def prepared(out: Path | str, data: Path) -> RunPlan:
    """The plan of the first fold."""
    return prepare(RunRequest(EXPERIMENT, data=data, out=out, size="smoke", folds=(0,)))


def ignore(values) -> None:
    """An epoch callback that does nothing."""
