"""Checkpoints that appear beside a running service join or take over, and no request is lost."""

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from lus_ray.inference.model_selection import select_models
from tests.serve.conftest import LATE
from tests.serve.load_client import load
from tests.serve.service import Service, eventually, request

pytestmark = [pytest.mark.ray, pytest.mark.slow]
SLOTS = ("ingress", "backbone", "scorer")


def predict(service: Service, video_file: Path) -> dict:
    reply = request(f"{service.url}/v1/clips", video_file.read_bytes())
    assert reply.status == 200, reply.body
    return reply.json


def replicas(service: Service) -> dict[str, set[tuple[int, float]]]:
    return {slot: {(p.pid, p.create_time()) for p in service.replicas(slot)} for slot in SLOTS}


def finish_training(label: str, source: Path, run: Path) -> None:
    """Add the predictions of a label's experts, which mark their cells as finished."""
    for model in select_models([source]):
        if model.label == label:
            path = run / model.predictions.relative_to(source)
            path.parent.mkdir()
            shutil.copy(model.predictions, path.with_suffix(".copying")).rename(path)


def test_an_unreadable_neighbour_is_skipped_with_one_line(service, served_run):
    (line,) = [line for line in service.read_lines if "skipped" in line]
    record = served_run.parent / "broken" / "experiment.json"
    assert line.startswith(f"skipped: {record}: not readable")


def test_a_retrained_run_takes_over_under_load_and_no_request_is_lost(
    service, served_run, video_file
):
    before, old = predict(service, video_file), replicas(service)
    with load(service.url, video_file) as requests:
        backbone = select_models([served_run])[0]
        task = backbone.folder / "task.json"
        task.write_text(json.dumps(json.loads(task.read_text()), indent=3))  # the same task
        renewed = select_models([served_run])[0].fingerprint
        assert renewed != backbone.fingerprint
        service.wait_for_line("serving backbone.")
        after = predict(service, video_file)
        time.sleep(1)  # with the old replicas ending
    assert renewed in {model["fingerprint"] for model in after["models"]}
    assert after["biomarkers"] == before["biomarkers"]
    assert {r.status for r in requests} == {200}
    assert eventually(lambda: not old["backbone"] & replicas(service)["backbone"])
    assert old["ingress"] == replicas(service)["ingress"]


def test_experts_of_another_label_join_and_nothing_else_restarts(
    runs, service, served_run, video_file
):
    before, running = predict(service, video_file), replicas(service)
    with load(service.url, video_file) as requests:
        finish_training(LATE, runs / "labels", served_run)
        service.wait_for_line(f"serving experts-{LATE}.")  # in every ingress
    after, now = predict(service, video_file), replicas(service)
    assert [group["label"] for group in after["experts"]] == ["severity", LATE]
    assert after["biomarkers"] == before["biomarkers"]
    assert after["experts"][0] == before["experts"][0]
    assert {r.status for r in requests} == {200}
    assert all(processes <= now[slot] for slot, processes in running.items())
    served = request(f"{service.url}/v1/models").json
    assert all(model["parity"] <= 1e-5 for model in served["models"])
    assert served["layout"][f"experts-{LATE}"] == "colocated"


def test_a_changed_checkpoint_that_fails_its_parity_check_is_rejected_and_the_old_one_serves(
    service, served_run, video_file
):
    before = predict(service, video_file)
    (segmenter,) = select_models([served_run.parent / "masks"])
    weights = segmenter.folder / "weights.safetensors"
    original, tensors = weights.read_bytes(), load_file(weights)
    tensors["net.0.net.out.bias"] += np.array([0, 0, 0, 0, 9], np.float32)
    save_file(tensors, weights.with_suffix(".new"))
    weights.with_suffix(".new").rename(weights)
    assert "predictions differ from its stored predictions" in service.wait_for_line("rejected: ")
    after = predict(service, video_file)
    assert after["models"] == before["models"]
    assert after["masks"] == before["masks"]
    assert request(f"{service.url}/readyz").status == 200
    weights.write_bytes(original)
