"""What a training step of a network costs on a GPU: counted from its operations, or measured.

Why count: the plan of a campaign needs an estimate before any GPU is held. Operations are counted
on tensors without memory, which takes a second for the largest network.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from lus_ray.clip import BIOMARKERS
from lus_ray.data.transforms.view import View
from lus_ray.tasks.task import Task
from lus_ray.training import loop
from lus_ray.training.recipe import Recipe

LAUNCH_S = 30e-6
"""Seconds to launch a kernel: 18 ms for 600 and 262 ms for 7,700 (`lus bench gpu`, one H200)."""
FLOPS = 100e12
"""Arithmetic a second in bfloat16: SIFA reaches 94e12 on one H200, small networks 20 to 45e12."""
MEMORY = 16e9
"""Bytes of the smallest usual GPU of a data centre."""
STATE = 16
"""Bytes of a parameter: its value, gradient and the two moments of Adam."""
NUM_WARM_UP, NUM_STEPS = 3, 7


@dataclass(frozen=True)
class StepCost:
    """One step of one worker on a whole batch.

    Attributes:
        batch: samples of it.
        step_s: seconds.
        fixed_s: seconds that no smaller batch goes below, as kernels have to be launched.
        busy_s: seconds in which the GPU computes; other cells can use the rest.
        gradient_bytes: what several workers exchange, for all networks of a task.
        num_norms: batch norms, whose statistics they exchange.
        memory: share of the memory of a GPU.
        measured: on this device; empty where it was counted.
    """

    batch: int
    step_s: float
    fixed_s: float
    busy_s: float
    gradient_bytes: int
    num_norms: int
    memory: float
    measured: str = ""


def count_step(
    factory: Callable[[], Any], recipe: Recipe, *, unlabelled: bool = False
) -> StepCost | None:
    """The cost by counted arithmetic; None for a task that is not trained on frames.

    `unlabelled` is for tasks with a second stream of frames.
    """
    with torch.device("meta"):
        task = factory()
    if task.fits_in_one_call or not isinstance(task.view, View) or not recipe.batch:
        return None
    task.train()
    batch = make_batch(task, recipe.batch, "meta", unlabelled=unlabelled)
    flops = FlopCounterMode(display=False)
    with flops, _Kernels() as kernels:
        for network in task.networks:
            task.zero_grad()
            kernels.num_bytes = 0
            loss = task(batch, network)["loss"]
            kernels.most_bytes = max(kernels.most_bytes, kernels.num_bytes)
            loss.backward()
    fixed_s, busy_s = kernels.number * LAUNCH_S, flops.get_total_flops() / FLOPS
    num_parameters = sum(p.numel() for p in task.parameters())
    return StepCost(
        batch=recipe.batch,
        step_s=max(fixed_s, busy_s),
        fixed_s=fixed_s,
        busy_s=busy_s,
        gradient_bytes=4 * num_parameters * len(task.networks),
        num_norms=sum(isinstance(m, torch.nn.modules.batchnorm._BatchNorm) for m in task.modules()),
        memory=(kernels.most_bytes + STATE * num_parameters) / MEMORY,
    )


def measure_step(
    factory: Callable[[], Any], recipe: Recipe, counted: StepCost, *, device: str,
    unlabelled: bool = False,
) -> StepCost:  # fmt: skip
    """The counted cost, corrected by the median of a few steps on random frames.

    Half a batch is measured as well, the step of each of two workers.
    """
    task = factory()
    halves = [make_batch(task, n, "cpu", unlabelled=unlabelled) for n in _sizes(recipe.batch)]
    seconds = [_time_steps(task, batch, recipe, device) for batch in halves]
    step_s, half_s = seconds[0], seconds[-1]
    on_gpu = device != "cpu"
    used = torch.cuda.max_memory_allocated() if on_gpu else 0
    total = torch.cuda.get_device_properties(0).total_memory if on_gpu else MEMORY
    return replace(
        counted,
        step_s=step_s,
        fixed_s=min(step_s, half_s if half_s > 0.55 * step_s else counted.fixed_s),
        busy_s=min(step_s, max(counted.busy_s, 2 * (step_s - half_s))),
        memory=used / total if on_gpu else counted.memory,
        measured=torch.cuda.get_device_name(0) if on_gpu else "CPU",
    )


def make_batch(
    task: Task, number: int, device: str, *, unlabelled: bool = False
) -> dict[str, Tensor]:
    """Random frames as a loader gives them (float on "meta"), of class 0 everywhere."""
    view = task.view
    assert isinstance(view, View)
    shape = (number, view.num_frames, view.height, view.width)

    def frames() -> Tensor:
        if device == "meta":
            return torch.empty(shape, device=device)
        return torch.randint(0, 256, shape, dtype=torch.uint8)

    batch = {"frames": frames()}
    for name in task.columns:
        size = (number, len(BIOMARKERS)) if name == "biomarkers" else (number,)
        batch[name] = torch.zeros(size, dtype=torch.long, device=device)
    if task.scheme is not None:
        batch["masks"] = torch.zeros(shape, dtype=torch.uint8, device=device)
    if unlabelled:
        batch["target_frames"] = frames()
    return batch


def _sizes(batch: int) -> tuple[int, ...]:
    return (batch, batch // 2) if batch > 1 else (batch,)


def _time_steps(task: Task, batch: Mapping[str, Tensor], recipe: Recipe, device: str) -> float:
    stamps: list[float] = []

    def batches(epoch: int, start: int) -> Iterator[Mapping[str, Tensor]]:
        for _ in range(NUM_WARM_UP + NUM_STEPS):
            yield batch
            stamps.append(time.perf_counter())  # every step reads its losses, and so waits for them

    once = replace(recipe, epochs=1, select="last", norm_batches=0)
    loop.fit(
        task, batches=batches, validate=lambda task: {"score": 0.0}, recipe=once, seed=0,
        report=lambda values: None, device=device,
    )  # fmt: skip
    seconds = [after - before for before, after in pairwise(stamps)]
    return median(seconds[NUM_WARM_UP:])


class _Kernels(TorchDispatchMode):
    """Counts operations that compute, and the bytes of their results."""

    number = num_bytes = most_bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            self.number += 1
            tensors = result if isinstance(result, tuple | list) else (result,)
            self.num_bytes += sum(t.nbytes for t in tensors if isinstance(t, Tensor))
        return result
