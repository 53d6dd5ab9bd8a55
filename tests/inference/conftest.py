"""Three tiny runs side by side, trained once, and their models."""

from pathlib import Path

import pytest

from lus_ray.data.ingest.pipeline import ingest
from lus_ray.inference.model_selection import neighbouring_runs, select_models
from lus_ray.inference.response import LocalPipeline
from tests.inference import fixture_runs

RUNS = (fixture_runs.LABELS, fixture_runs.SCORES, fixture_runs.MASKS)


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """A folder with the runs `labels`, `scores` and `masks`, and the store of their clips."""
    folder = tmp_path_factory.mktemp("served")
    data = folder / "clips"
    ingest("phantom", None, data, patients=12, clips=1, frames=4, size=64, masks="markers")
    for experiment in RUNS:
        fixture_runs.train_run(experiment, data, folder / experiment.name)
    return folder


@pytest.fixture(scope="session")
def models(runs: Path):
    """The models of the runs."""
    return select_models(neighbouring_runs(runs / "labels"))


@pytest.fixture(scope="session")
def local(models):
    """All of them in this process."""
    return LocalPipeline(models)
