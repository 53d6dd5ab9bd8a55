"""Checkpoints that come to a running service: sound ones join or take over, and nothing is lost."""

import json
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from lus_ray.inference import model_selection
from tests.serve.hammer import hammer, shots
from tests.serve.service import Service, ask

pytestmark = [pytest.mark.ray, pytest.mark.slow]
LATE = "sf_ratio"
JOIN_SECONDS = 60.0


def test_a_neighbour_that_cannot_be_read_is_left_out_with_one_line(lone, lone_run):
    (told,) = [line for line in lone.heard if "left out" in line]
    assert told.startswith(
        f"left out: {lone_run.parent / 'broken' / 'experiment.json'}: not readable"
    )


def test_experts_of_another_task_join_while_clips_are_answered_and_nothing_starts_anew(
    runs, lone, lone_run, film_file
):
    clip = film_file.read_bytes()
    finish("severity", runs / "signs", lone_run)
    before, settled = joined(lone, clip, ["severity"]), replicas(lone)
    load = hammer(lone.url, film_file, seconds=12, clients=1)
    finish(LATE, runs / "signs", lone_run)
    after = joined(lone, clip, ["severity", LATE])
    assert after["biomarkers"] == before["biomarkers"]
    assert after["experts"][0] == before["experts"][0]
    assert {shot.status for shot in shots(load)} == {200}
    now = replicas(lone)
    assert all(processes <= now[part] for part, processes in settled.items())
    assert set(settled) >= {"ingress", "backbone", "experts-severity"}
    assert set(now) - set(settled) == {f"experts-{LATE}"}
    served = ask(f"{lone.url}/v1/models").json["models"]
    assert all(model["parity"] <= 1e-5 for model in served)


def test_a_broken_checkpoint_is_refused_and_the_old_one_goes_on(lone, lone_run, film_file):
    clip = film_file.read_bytes()
    before = ask(f"{lone.url}/v1/clips", clip).json
    backbone = model_selection.find([lone_run])[0]
    weights = backbone.folder / "weights.safetensors"
    sound = weights.read_bytes()
    tensors = load_file(weights)
    tensors["net.fc.bias"] += np.float32(0.1)
    save_file(tensors, weights.with_suffix(".new"))
    weights.with_suffix(".new").rename(weights)
    assert "answers differ from its stored predictions" in lone.hears("refused: ")
    after = ask(f"{lone.url}/v1/clips", clip).json
    assert after["models"] == before["models"]
    assert after["biomarkers"] == before["biomarkers"]
    assert ask(f"{lone.url}/readyz").status == 200
    weights.write_bytes(sound)


def test_a_run_that_was_trained_again_takes_over_under_load_and_no_request_is_lost(
    lone, lone_run, film_file
):
    clip = film_file.read_bytes()
    before, old = ask(f"{lone.url}/v1/clips", clip).json, replicas(lone)
    load = hammer(lone.url, film_file, seconds=18, clients=1)
    backbone = model_selection.find([lone_run])[0]
    task = backbone.folder / "task.json"
    task.write_text(json.dumps(json.loads(task.read_text()), indent=3))  # as sound as it was
    renewed = model_selection.find([lone_run])[0].fingerprint
    assert renewed != backbone.fingerprint
    lone.hears("serving backbone.")
    after = ask(f"{lone.url}/v1/clips", clip).json
    assert renewed in {model["fingerprint"] for model in after["models"]}
    assert after["biomarkers"] == before["biomarkers"]
    assert {shot.status for shot in shots(load)} == {200}
    assert eventually(lambda: not old["backbone"] & replicas(lone)["backbone"])
    assert old["ingress"] == replicas(lone)["ingress"]


def test_a_kill_after_all_this_leaves_no_process(lone, capsys):
    with capsys.disabled():
        assert lone.left_by(signal.SIGKILL) == []


def finish(label: str, whole: Path, run: Path) -> None:
    """End the training of a label's experts; what tells that they are finished comes last."""
    for model in model_selection.find([whole]):
        if model.label == label:
            place = run / model.predictions.relative_to(whole)
            place.parent.mkdir()
            shutil.copy(model.predictions, place.with_suffix(".copying")).rename(place)


def joined(service: Service, clip: bytes, wanted: list[str]) -> dict:
    """The first answer with experts of these tasks."""
    deadline = time.monotonic() + JOIN_SECONDS
    while time.monotonic() < deadline:
        answer = ask(f"{service.url}/v1/clips", clip).json
        if [group["label"] for group in answer["experts"]] == wanted:
            return answer
        time.sleep(0.5)
    raise AssertionError(f"not {wanted} within {JOIN_SECONDS:g} s; it said {service.heard}")


def eventually(holds: Callable[[], bool]) -> bool:
    """Whether it becomes true in time."""
    deadline = time.monotonic() + JOIN_SECONDS
    while time.monotonic() < deadline and not holds():
        time.sleep(0.5)
    return holds()


def replicas(service: Service) -> dict[str, set[tuple[int, float]]]:
    """By part, the processes of its replicas and when they started."""
    found: dict[str, set[tuple[int, float]]] = {}
    for part in ("ingress", "backbone", "experts-severity", f"experts-{LATE}"):
        processes = {(one.pid, one.create_time()) for one in service.replicas(part)}
        if processes:
            found[part] = processes
    return found
