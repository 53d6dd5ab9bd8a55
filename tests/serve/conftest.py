"""Runs that were trained once, and one service on them for the API, the page and takeovers."""

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from lus_ray.clip import frames_of
from lus_ray.data.store import read
from lus_ray.inference.model_selection import select_models
from tests.inference.conftest import models as models
from tests.inference.conftest import runs as runs
from tests.serve.service import Service, serving, to_video

LATE = "sf_ratio"
"""The label whose experts finish while the shared service runs."""
PROXY_VARIABLES = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One service after the other; the test that ends a service is the last to use it."""
    items.sort(key=_order)


def _order(item: pytest.Item) -> tuple[int, bool]:
    fixtures = getattr(item, "fixturenames", ())
    order = 2 if "lone" in fixtures else 1 if "service" in fixtures else 0
    return order, order > 0 and item.name.endswith("_leaves_no_process")


@pytest.fixture(scope="session")
def video_file(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    path.write_bytes(to_video(frames_of(next(iter(read(runs / "clips"))))))
    return path


@pytest.fixture(scope="session")
def served_run(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the run `labels` without predictions of late experts, beside a damaged run."""
    folder = tmp_path_factory.mktemp("runs")
    shutil.copytree(runs, folder, ignore=lambda *_: ["clips"], dirs_exist_ok=True)
    _unfinish(folder / "labels", lambda model: model.label == LATE)
    (folder / "broken").mkdir()
    (folder / "broken" / "experiment.json").write_text("{")
    return folder / "labels"


@pytest.fixture(scope="session")
def proxy() -> Iterator[socket.socket]:
    """The HTTP proxy in the environment of `service`, which nobody may connect to."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.fixture(scope="session")
def service(served_run: Path, proxy: socket.socket) -> Iterator[Service]:
    address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
    with serving(served_run, **dict.fromkeys(PROXY_VARIABLES, address)) as running:
        yield running


@pytest.fixture(scope="session")
def url(service: Service) -> str:
    return service.url


@pytest.fixture(scope="session")
def lone_run(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run `labels` with a backbone and nothing else."""
    folder = shutil.copytree(runs / "labels", tmp_path_factory.mktemp("lone") / "labels")
    _unfinish(folder, lambda model: model.kind != "backbone")
    return folder


@pytest.fixture(scope="session")
def lone(lone_run: Path) -> Iterator[Service]:
    """A service of a backbone alone, within each replica, for load."""
    with serving(lone_run, "--layout", "colocated") as running:
        yield running


def _unfinish(run: Path, is_late) -> None:
    for model in filter(is_late, select_models([run])):
        shutil.rmtree(model.predictions.parent)
