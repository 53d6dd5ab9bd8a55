"""A task whose experts come later joins the running service; nothing else starts anew."""

import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lus_ray.service import models
from lus_ray.service.models import Model
from tests.serve.hammer import hammer, shots
from tests.serve.service import Service, ask, serving

pytestmark = [pytest.mark.ray, pytest.mark.slow]
LATE = "sf_ratio"
JOIN_SECONDS = 60.0


@pytest.fixture(scope="module")
def waiting(
    runs: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[tuple[Path, Path]]]:
    """A run in which a task's experts are not trained yet, and where their parts are to go."""
    aside = tmp_path_factory.mktemp("late")
    folder = aside / "runs" / "signs"
    shutil.copytree(runs / "signs", folder)
    parts = []
    for model in models.find([folder]):
        if model.label == LATE:
            parts += [_put_aside(part, aside) for part in _parts(model)]
    assert {model.label for model in models.find([folder])} == {"biomarkers", "severity"}
    return folder, parts


@pytest.fixture(scope="module")
def running(waiting) -> Iterator[Service]:
    """The service of that run."""
    with serving(waiting[0]) as service:
        yield service


def test_experts_of_another_task_join_while_clips_are_answered_and_nothing_starts_anew(
    running, waiting, film_file
):
    clip = film_file.read_bytes()
    before, settled = ask(f"{running.url}/v1/clips", clip).json, replicas(running)
    assert labels(before) == ["severity"]
    load = hammer(running.url, film_file, seconds=12, clients=1)
    for aside, place in waiting[1]:
        aside.rename(place)
    after = joined(running, clip)
    assert labels(after) == ["severity", LATE]
    assert after["biomarkers"] == before["biomarkers"]
    assert after["experts"][0] == before["experts"][0]
    assert {shot.status for shot in shots(load)} == {200}
    now = replicas(running)
    assert {part: now[part] for part in settled} == settled
    assert set(settled) >= {"ingress", "backbone", "experts-severity"}
    assert set(now) - set(settled) == {f"experts-{LATE}"}
    served = ask(f"{running.url}/v1/models").json["models"]
    assert all(model["parity"] <= 1e-5 for model in served)


def test_a_kill_after_all_this_leaves_no_process(running, capsys):
    with capsys.disabled():
        assert running.left_by(signal.SIGKILL) == []


def joined(service: Service, clip: bytes) -> dict:
    """The first answer with experts of both tasks."""
    deadline = time.monotonic() + JOIN_SECONDS
    while time.monotonic() < deadline:
        answer = ask(f"{service.url}/v1/clips", clip).json
        if len(answer["experts"]) > 1:
            return answer
        time.sleep(0.5)
    raise AssertionError(f"no second task within {JOIN_SECONDS:g} s; it said {service.heard}")


def labels(answer: dict) -> list[str]:
    return [group["label"] for group in answer["experts"]]


def replicas(service: Service) -> dict[str, set[tuple[int, float]]]:
    """By part, the processes of its replicas and when they started."""
    found: dict[str, set[tuple[int, float]]] = {}
    for part in ("ingress", "backbone", "experts-severity", f"experts-{LATE}"):
        processes = {(one.pid, one.create_time()) for one in service.replicas(part)}
        if processes:
            found[part] = processes
    return found


def _parts(model: Model) -> tuple[Path, Path]:
    """The cell of a model, then what tells that it is finished."""
    return model.folder.parent, model.predictions


def _put_aside(part: Path, folder: Path) -> tuple[Path, Path]:
    aside = folder / f"{part.parent.name}-{part.name}"
    return part.rename(aside), part
