"""Tiny runs that were trained once, and one service on them for all tests of this folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lus_ray.ingest.ingest import ingest
from tests.serve.service import Service, serving
from tests.service import made_runs


@pytest.fixture(scope="package")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs `signs`, `scores` and `outlines`, and the store of their clips."""
    folder = tmp_path_factory.mktemp("served")
    data = folder / "clips"
    ingest("phantom", None, data, patients=12, clips=1, frames=6, size=64, masks="markers")
    for experiment in (made_runs.SIGNS, made_runs.SCORES, made_runs.OUTLINES):
        made_runs.trained(experiment, data, folder / experiment.name)
    return folder


@pytest.fixture(scope="package")
def service(runs: Path) -> Iterator[Service]:
    """The service on these runs."""
    with serving(runs / "signs") as running:
        yield running


@pytest.fixture
def served(service: Service) -> str:
    """Where it answers."""
    return service.url
