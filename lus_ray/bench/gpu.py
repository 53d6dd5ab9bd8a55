"""A step of the training loop on a GPU, against plain float32 and against its arithmetic alone.

Letters: B clips in a batch, T frames, H rows, W columns.
Measured: one epoch of the loop at published sizes, with uint8 batches from the host, in half
precision and channels last. The baselines: the same networks, losses and updates in float32; and
bfloat16 products of square matrices with as many operations, whose ratio is the share of the GPU's
arithmetic that a step uses. Dropout is off, as both sides would draw it in another order.
What is equal: the loss of the first step, to 10 % for half precision.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import nan

import torch
from torch import Tensor
from torch.nn.modules.dropout import _DropoutNd as Dropout
from torch.utils.flop_counter import FlopCounterMode

from lus_ray.bench.measure import Comparison, compare_in_turn
from lus_ray.data.transforms.view import View
from lus_ray.errors import LusError
from lus_ray.experiment import Recipe
from lus_ray.nets import TSM, FrameCNN, SifaSegmenter, UNet
from lus_ray.tasks import BinarySegmentation, ClipLabel, FrameScore, Sifa
from lus_ray.tasks.task import Task, to_unit_range
from lus_ray.training import loop

DEVICE = "cuda"
NUM_STEPS = 20
SIDE = 4096
"""Of the square matrices: large enough for the GPU's best, few of them make up a step."""
CLOSE = 0.1
RECIPE = Recipe(epochs=1, batch=0, lr=1e-4, weight_decay=0.0, select="last")

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class GpuCase:
    """A task and the shape of its batches (B, T, H, W), with the names of what they hold."""

    task: Callable[[], Task]
    shape: tuple[int, int, int, int]
    label: str
    pictures: tuple[str, ...] = ("frames",)


def studies() -> Mapping[str, GpuCase]:
    """Networks of the four studies in the sizes of their publications."""
    score, mason, outlines = (View(1, side, side, 0) for side in (224, 256, 256))
    clips = View(num_frames=15, height=224, width=224, num_samples=1)
    bline = partial(UNet, widths=(16, 32, 64, 128), dropout=0.5, bias=True)
    return {
        "FrameCNN, 64 of 224 x 224": GpuCase(
            partial(FrameScore, FrameCNN, view=score), (64, 1, 224, 224), "frame_severity"
        ),
        "TSM, 4 of 15 x 224 x 224": GpuCase(
            partial(ClipLabel, TSM, label="severity", view=clips), (4, 15, 224, 224), "severity"
        ),
        "U-Net, 16 of 256 x 256": GpuCase(
            partial(BinarySegmentation, bline, view=mason), (16, 1, 256, 256), "masks"
        ),
        "SIFA, 12 of 256 x 256": GpuCase(
            partial(Sifa, net=SifaSegmenter, view=outlines),
            (12, 1, 256, 256),
            "masks",
            ("frames", "target_frames"),
        ),
    }


def measure(repeats: int = 5, *, num_steps: int = NUM_STEPS) -> dict[str, Comparison]:
    """An epoch of each network; nothing where there is no GPU.

    Raises:
        LusError: in float32 the first step has another loss than ours.
    """
    if not torch.cuda.is_available():
        return {}
    return {name: measured(study, repeats, num_steps) for name, study in studies().items()}


def measured(study: GpuCase, repeats: int, num_steps: int) -> Comparison:
    """An epoch of one network."""
    ours, plain = (without_dropout(study.task()).to(DEVICE) for _ in range(2))
    plain.load_state_dict(ours.state_dict())
    data = batches(study, num_steps)
    check_close(with_loop(ours, data[:1]), with_float32(plain, data[:1]))
    operations = num_steps * count_operations(plain, data[0])
    baselines: dict[str, Callable[[], object]] = {
        "float32": partial(with_float32, plain, data),
        "its arithmetic": partial(multiply, operations),
    }
    return compare_in_turn(partial(with_loop, ours, data), baselines, repeats=repeats, warmup=1)


def without_dropout(task: Task) -> Task:
    """The same task, in which every unit stays."""
    for module in task.modules():
        if isinstance(module, Dropout):
            module.p = 0.0
    return task


def batches(study: GpuCase, num_steps: int) -> list[Batch]:
    """Batches on the host: uint8 pictures and labels."""
    generator = torch.Generator().manual_seed(0)
    draw = partial(torch.randint, generator=generator, dtype=torch.uint8)
    num_clips = study.shape[0]
    return [
        {
            **{name: draw(256, study.shape) for name in study.pictures},
            study.label: draw(2, study.shape)
            if study.label == "masks"
            else torch.arange(num_clips) % 4,
        }
        for _ in range(num_steps)
    ]


def with_loop(task: Task, data: list[Batch]) -> float:
    """The mean loss of an epoch of ours."""
    metrics: dict[str, float] = {}
    loop.fit(
        task,
        batches=lambda epoch: data,
        validate=lambda task: {"score": nan},
        recipe=RECIPE,
        seed=0,
        report=metrics.update,
        device=DEVICE,
    )
    torch.cuda.synchronize()
    return metrics["train_loss"]


def with_float32(task: Task, data: list[Batch]) -> float:
    """The mean loss of an epoch as one would write it first."""
    adams = {
        network: torch.optim.Adam(task.get_submodule(network).parameters(), RECIPE.lr)
        for network in task.networks
    }
    task.train()
    total = 0.0
    for batch in data:
        given = {name: value.to(DEVICE) for name, value in batch.items()}
        given |= {
            name: to_unit_range(given[name])
            for name in ("frames", "target_frames")
            if name in given
        }
        for network, adam in adams.items():
            task.zero_grad(set_to_none=True)
            loss = task(given, network)["loss"]
            loss.backward()
            adam.step()
            task.constrain()
            total += loss.item()
    torch.cuda.synchronize()
    return total / len(data)


def count_operations(task: Task, batch: Batch) -> int:
    """Multiplications and additions of convolutions and products in a step, both ways."""
    with FlopCounterMode(display=False) as counter:
        with_float32(task, [batch])
    return counter.get_total_flops()


def multiply(operations: int) -> None:
    """So many multiplications and additions, in products of square matrices."""
    left, right = (torch.randn(SIDE, SIDE, device=DEVICE, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(max(1, round(operations / (2 * SIDE**3)))):
        torch.mm(left, right)
    torch.cuda.synchronize()


def check_close(ours: float, theirs: float) -> None:
    """Refuse to compare steps whose losses are further apart than precision explains.

    Raises:
        LusError: both losses.
    """
    if not abs(ours - theirs) <= CLOSE * abs(theirs):
        raise LusError(
            f"gpu: in float32 the first step has a loss of {theirs!r} where ours has {ours!r}; "
            "no ratio is given for unequal work"
        )
