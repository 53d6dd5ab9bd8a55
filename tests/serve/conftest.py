"""Tiny runs that were trained once, and one service on them for all tests of this folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lus_ray.clip import frames_of
from lus_ray.ingest.ingest import ingest
from lus_ray.store import read
from tests.serve.service import Service, film, serving
from tests.service import made_runs


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that share the service come last, so that it does not run beside those of others."""
    sharing = {item.path for item in items if "service" in getattr(item, "fixturenames", ())}
    items.sort(key=lambda item: item.path in sharing)


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
def film_file(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film of a phantom of the store."""
    path = tmp_path_factory.mktemp("film") / "clip.mp4"
    path.write_bytes(film(frames_of(next(iter(read(runs / "clips"))))))
    return path


@pytest.fixture(scope="package")
def service(runs: Path) -> Iterator[Service]:
    """The service on these runs."""
    with serving(runs / "signs") as running:
        yield running


@pytest.fixture
def served(service: Service) -> str:
    """Where it answers."""
    return service.url
