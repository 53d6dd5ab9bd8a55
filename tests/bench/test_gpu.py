"""A step on a GPU; what is counted holds on the CPU as well."""

from functools import partial

import pytest
import torch

from lus_ray.bench import gpu, train
from lus_ray.data.transforms.view import View
from lus_ray.nets import FrameCNN
from lus_ray.tasks import FrameScore

SMALL = partial(FrameScore, FrameCNN, view=View(1, 32, 32, 0))


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "DEVICE", "cpu")
    monkeypatch.setattr(gpu, "SIDE", 512)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)


@pytest.mark.slow
def test_the_loop_is_compared_with_float32_and_with_its_arithmetic():
    measured = gpu.compare_loops(SMALL, 2, 1).measure(1)
    assert [rival.name for rival in measured.rivals] == ["float32", "its arithmetic"]
    assert all(rival.ratio > 0 for rival in measured.rivals)


def test_operations_are_those_of_both_passes():
    task = gpu.disable_dropout(SMALL())
    few, many = (gpu.count_operations(task, train.batches(task, n, 1)[0]) for n in (2, 4))
    first = next(m for m in task.modules() if isinstance(m, torch.nn.Conv2d))
    forward = 2 * 2 * first.weight.numel() * 32 * 32  # of the first convolution alone
    assert few > 2 * forward
    assert many == 2 * few
