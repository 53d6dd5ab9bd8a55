"""Three tiny runs side by side, trained once, and their models."""

import pytest

from lus_ray.data.ingest.pipeline import ingest
from lus_ray.inference.model_selection import neighbouring_runs, select_models
from lus_ray.inference.response import LocalPipeline
from tests.conftest import make_once
from tests.inference import fixture_runs

RUNS = (fixture_runs.LABELS, fixture_runs.SCORES, fixture_runs.MASKS)


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    def make(folder):
        data = folder / "clips"
        ingest("phantom", None, data, patients=12, clips=1, frames=4, size=64, masks="markers")
        for experiment in RUNS:
            fixture_runs.train_run(experiment, data, folder / experiment.name)

    return make_once(tmp_path_factory, "served", make)


@pytest.fixture(scope="session")
def models(runs):
    return select_models(neighbouring_runs(runs / "labels"))


@pytest.fixture(scope="session")
def local(models):
    return LocalPipeline(models)
