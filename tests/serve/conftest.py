"""Tiny runs that were trained once, and services on them that several files share."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lus_ray.clip import frames_of
from lus_ray.data.ingest.pipeline import ingest
from lus_ray.data.store import read
from lus_ray.inference import model_selection
from tests.inference import made_runs
from tests.serve.service import Service, film, serving

ENDS = "_leaves_no_process"
"""How the name of a test ends that ends a service."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One service after the other, and what ends a shared one as the last that uses it."""
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> tuple[int, bool]:
    used = getattr(item, "fixturenames", ())
    turn = 2 if "service" in used else 1 if "lone" in used else 0
    return turn, turn > 0 and item.name.endswith(ENDS)


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs `signs`, `scores` and `outlines`, and the store of their clips."""
    folder = tmp_path_factory.mktemp("served")
    data = folder / "clips"
    ingest("phantom", None, data, patients=12, clips=1, frames=6, size=64, masks="markers")
    for experiment in (made_runs.SIGNS, made_runs.SCORES, made_runs.OUTLINES):
        made_runs.trained(experiment, data, folder / experiment.name)
    return folder


@pytest.fixture(scope="session")
def film_file(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film of a phantom of the store."""
    path = tmp_path_factory.mktemp("film") / "clip.mp4"
    path.write_bytes(film(frames_of(next(iter(read(runs / "clips"))))))
    return path


@pytest.fixture(scope="session")
def lone_run(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run `signs` when its backbone was finished and nothing else, beside a broken one."""
    folder = tmp_path_factory.mktemp("lone") / "signs"
    shutil.copytree(runs / "signs", folder)
    for model in model_selection.find([folder]):
        if model.kind != "backbone":
            shutil.rmtree(model.predictions.parent)
    (folder.parent / "broken").mkdir()
    (folder.parent / "broken" / "experiment.json").write_text("{")
    return folder


@pytest.fixture(scope="session")
def lone(lone_run: Path) -> Iterator[Service]:
    """The service of that run: load comes on the backbone alone, experts join later."""
    with serving(lone_run) as running:
        yield running


@pytest.fixture(scope="session")
def service(runs: Path) -> Iterator[Service]:
    """The service on these runs."""
    with serving(runs / "signs") as running:
        yield running


@pytest.fixture
def served(service: Service) -> str:
    """Where it answers."""
    return service.url
