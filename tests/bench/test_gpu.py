"""A step on a GPU is measured where there is one; what is counted holds anywhere."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from lus_ray import bench
from lus_ray.bench import gpu, uninorm
from lus_ray.bench.measure import Comparison
from lus_ray.data.transforms.view import View
from lus_ray.errors import LusError
from lus_ray.nets import FrameCNN
from lus_ray.tasks import FrameScore

SMALL = gpu.GpuCase(
    partial(FrameScore, FrameCNN, view=View(1, 32, 32, 0)), (4, 1, 32, 32), "frame_severity"
)


@pytest.fixture
def on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "DEVICE", "cpu")
    monkeypatch.setattr(gpu, "SIDE", 64)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)


def test_the_loop_is_held_against_float32_and_against_its_arithmetic(on_the_cpu):
    measured = gpu.measured(SMALL, 1, 2)
    assert [baseline.name for baseline in measured.baselines] == ["float32", "its arithmetic"]
    assert all(baseline.ratio > 0 for baseline in measured.baselines)


def test_operations_are_those_of_both_ways(on_the_cpu):
    task = gpu.without_dropout(SMALL.task())
    twice = replace(SMALL, shape=(8, 1, 32, 32))
    few, many = (gpu.count_operations(task, gpu.batches(s, 1)[0]) for s in (SMALL, twice))
    first = next(m for m in task.modules() if isinstance(m, torch.nn.Conv2d))
    forward = 2 * 4 * first.weight.numel() * 32 * 32  # of the first convolution alone
    assert few > 2 * forward
    assert many == 2 * few


def test_other_losses_get_no_ratio():
    gpu.check_close(1.0, 1.05)
    for theirs in (1.2, float("nan")):
        with pytest.raises(LusError, match="the first step has a loss of"):
            gpu.check_close(1.0, theirs)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, so that it is measured")
def test_without_a_gpu_it_is_skipped_with_a_line():
    lines: list[str] = []
    report = bench.run(["gpu"], notify=lines.append)
    assert report.measures == {"gpu": {}}
    assert lines == ["measuring gpu", "skipped: this machine has no GPU"]


def test_what_cannot_be_compared_costs_the_others_nothing(monkeypatch: pytest.MonkeyPatch):
    def refuse() -> None:
        raise LusError("gpu: unequal work")

    monkeypatch.setattr(gpu, "measure", refuse)
    one = Comparison(repeats=1, threads=1, wall_ms=1.0, cpu_s=0.0, peak_mb=0.0, baselines=())
    monkeypatch.setattr(uninorm, "measure", lambda: {"a clip": one})
    report = bench.run(["gpu", "uninorm"])
    assert report.measures == {"uninorm": {"a clip": one}}
    assert report.refused == {"gpu": "gpu: unequal work"}
