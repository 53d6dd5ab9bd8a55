"""Three tiny runs side by side, trained once, and the models that they offer."""

from pathlib import Path

import pytest

from lus_ray.data.ingest.pipeline import ingest
from lus_ray.inference import model_selection
from lus_ray.inference.response import Local
from tests.inference import made_runs


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """A folder with the runs `signs`, `scores` and `outlines`, and the store of their clips."""
    folder = tmp_path_factory.mktemp("served")
    data = folder / "clips"
    ingest("phantom", None, data, patients=12, clips=1, frames=4, size=64, masks="markers")
    for experiment in (made_runs.SIGNS, made_runs.SCORES, made_runs.OUTLINES):
        made_runs.trained(experiment, data, folder / experiment.name)
    return folder


@pytest.fixture(scope="session")
def offered(runs: Path):
    """The models of the runs."""
    return model_selection.find(model_selection.beside(runs / "signs"))


@pytest.fixture(scope="session")
def local(offered):
    """All of them in this process."""
    return Local(offered)
