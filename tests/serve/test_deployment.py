"""A stage computes where it was given something to compute on, as exactly as what was stored."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lus_ray.inference.model_selection import Model
from serve import deployment
from serve.deployment import Stage


@pytest.fixture
def of_bits() -> Iterator[SimpleNamespace]:
    """How many bits convolutions keep on a GPU, set back afterwards."""
    before = torch.backends.cudnn.allow_tf32
    yield torch.backends.cudnn
    torch.backends.cudnn.allow_tf32 = before


@pytest.mark.parametrize("stored_on_gpu", [False, True])
@pytest.mark.parametrize(
    ("share", "is_there", "device"),
    [([], True, "cpu"), ([0], False, "cpu"), ([], False, "cpu"), ([0], True, "cuda")],
)
def test_a_gpu_is_used_only_where_the_replica_has_a_share_of_it(
    monkeypatch, of_bits, stored_on_gpu, share, is_there, device
):
    monkeypatch.setattr(deployment.ray, "get_gpu_ids", lambda: share)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: is_there)
    model = Model("r/a", "r", "a", 0, "frames", "", Path(), "f", on_gpu=stored_on_gpu)
    of_bits.allow_tf32 = not stored_on_gpu
    held = Stage([model])
    assert held.device() == device
    assert held.told.on_gpu == (device == "cuda")
    assert of_bits.allow_tf32 == (stored_on_gpu if device == "cuda" else not stored_on_gpu)
