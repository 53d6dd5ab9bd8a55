"""A deployment computes on a GPU only if it has one, with the precision of stored predictions."""

from pathlib import Path

import pytest
import torch

from lus_ray.inference.served_model import ServedModel
from serve import deployment
from serve.deployment import ModelDeployment


@pytest.mark.parametrize("stored_on_gpu", [False, True])
@pytest.mark.parametrize(
    ("gpu_ids", "is_available", "device"),
    [([], True, "cpu"), ([0], False, "cpu"), ([], False, "cpu"), ([0], True, "cuda")],
)
def test_a_gpu_is_used_only_where_the_replica_has_a_share_of_it(
    monkeypatch, stored_on_gpu, gpu_ids, is_available, device
):
    monkeypatch.setattr(deployment.ray, "is_initialized", lambda: True)
    monkeypatch.setattr(deployment.ray, "get_gpu_ids", lambda: gpu_ids)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: is_available)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", not stored_on_gpu)
    model = ServedModel("r/a", "r", "a", 0, "frames", "", Path(), "f", on_gpu=stored_on_gpu)
    deployed = ModelDeployment([model])
    assert deployed.select_device() == device
    assert deployed.info.on_gpu == (device == "cuda")
    is_changed = torch.backends.cudnn.allow_tf32 == stored_on_gpu
    assert is_changed == (device == "cuda")
