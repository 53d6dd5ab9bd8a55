"""A step of the training loop against the same step in a bare PyTorch loop.

Letters: B clips in a batch, T frames, H rows, W columns.
Measured: one epoch over uint8 noise in memory, for FrameCNN in its published width
(B = 16, 64 x 64), a TSM ResNet-18 of a quarter of its width (B = 4, T = 8, 64 x 64), and the U-Net
of Mason et al. 2021 (B = 4, 64 x 64). Images are small, so that the cost of the loop shows.
The rival is written for one network and one loss: Adam, gradients set to None, the loss read
once per step, channels last. Weights and dropout are the same; mean loss and weights after the
epoch are equal bit for bit. Ours validates, reports and augments nothing here.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from math import nan
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, log_softmax

from lus_ray.bench.measure import Comparison, Run, refuse, torch_threads
from lus_ray.data.transforms.view import View
from lus_ray.experiment import Recipe
from lus_ray.nets import TSM, FrameCNN, UNet
from lus_ray.tasks import BinarySegmentation, ClipLabel, FrameScore
from lus_ray.tasks.task import Task
from lus_ray.training import loop
from lus_ray.training.step_cost import make_batch

RECIPE = Recipe(epochs=1, batch=0, lr=1e-3, weight_decay=0.0, select="last")
TARGET = 1 / 1.03  # a step may take 1.03 times the bare loop's
Batch = dict[str, Tensor]
Loss = Callable[[torch.nn.Module, Float[Tensor, "B T H W"], Batch], Float[Tensor, ""]]
"""Of a network, on frames in [0, 1] and a batch of labels."""


def compare(*, num_steps: int = 8, side: int = 64) -> Iterator[tuple[str, Comparison]]:
    """An epoch of each network on one thread."""
    options: dict[str, Any] = {"repeats": 3, "warmup": 0}  # the check is a whole run of each side
    with torch_threads(1):
        for name, (factory, num_clips, loss) in loop_cases(side).items():
            task, start = build_task(factory)
            data = batches(task, num_clips, num_steps)
            ours = partial(with_fit, task, data, start)
            rivals = {f"bare loop of {name}": partial(with_bare_loop, task, data, start, loss)}
            yield name, Comparison(ours, rivals, partial(check_equal, task=task), TARGET, **options)


def loop_cases(side: int) -> Mapping[str, tuple[Callable[[], Task], int, Loss]]:
    """Tasks, clips of a batch, and losses as one would write them."""
    frames = View(num_frames=1, height=side, width=side, num_samples=0)
    clips = View(num_frames=8, height=side, width=side, num_samples=1)
    tsm = partial(TSM, width=16)
    mason = partial(UNet, widths=(16, 32, 64, 128), dropout=0.5, bias=True)
    return {
        "FrameCNN": (partial(FrameScore, FrameCNN, view=frames), 16, _ordinal),
        "TSM": (partial(ClipLabel, tsm, label="severity", view=clips), 4, _cross_entropy),
        "U-Net": (partial(BinarySegmentation, mason, view=frames), 4, _segmentation),
    }


def build_task(factory: Callable[[], Task]) -> tuple[Task, dict[str, Tensor]]:
    """The task with the same weights every time, and a copy of them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        task = factory()
    return task, copy_weights(task)


def copy_weights(task: Task) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in task.state_dict().items()}


def batches(task: Task, num_clips: int, num_steps: int, *, unlabelled: bool = False) -> list[Batch]:
    """uint8 noise and labels of several classes on the host, the same every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        data = [
            make_batch(task, num_clips, "cpu", unlabelled=unlabelled)
            | {name: torch.arange(num_clips) % 4 for name in task.columns}
            for _ in range(num_steps)
        ]
        for batch in data:
            if "masks" in batch:
                batch["masks"].random_(2)
    return data


def with_fit(task: Task, data: list[Batch], start: Mapping[str, Tensor]) -> float:
    task.load_state_dict(start)
    torch.manual_seed(0)
    return fit_epoch(task, data, RECIPE)


def fit_epoch(task: Task, data: list[Batch], recipe: Recipe, device: str = "cpu") -> float:
    metrics: dict[str, float] = {}
    loop.fit(
        task,
        batches=lambda epoch, start: data,
        validate=lambda task: {"score": nan},
        recipe=recipe,
        seed=0,
        report=metrics.update,
        device=device,
    )
    return metrics["train_loss"]


def with_bare_loop(
    task: Task, data: list[Batch], start: Mapping[str, Tensor], loss_of: Loss
) -> float:
    """The mean loss of an epoch of the bare loop, from these weights on."""
    task.load_state_dict(start)
    torch.manual_seed(0)
    net = task.get_submodule("net")
    adam = torch.optim.AdamW(net.parameters(), lr=RECIPE.lr, weight_decay=0.0, eps=RECIPE.eps)
    net.train()
    total = 0.0
    for batch in data:
        frames = batch["frames"].float().div_(255)
        adam.zero_grad(set_to_none=True)
        loss = loss_of(net, frames, batch)
        loss.backward()
        adam.step()
        total += loss.item()
    return total / len(data)


def check_equal(ours: Run, theirs: Run, name: str, *, task: Task) -> None:
    """Raise LusError if the loops come to different mean losses or weights."""
    loss, weights, other_loss = ours(), copy_weights(task), theirs()
    if loss != other_loss:
        has = f"has a mean loss of {other_loss!r} where ours has {loss!r}"
        refuse(f"train: the {name} {has}")
    for key, value in task.state_dict().items():
        if not torch.equal(value, weights[key]):
            refuse(f"train: after an epoch the {name} has another {key} than ours")


def _ordinal(net: torch.nn.Module, frames: Tensor, batch: Batch) -> Tensor:
    """SORD on four scores a distance of 1 apart (Roy et al. 2020)."""
    score = torch.arange(4.0, dtype=torch.float64)
    targets = (-2 * (score[:, None] - score) ** 2).softmax(dim=1).float()
    logits = net(frames.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last))
    return -(targets[batch["frame_severity"]] * log_softmax(logits, dim=1)).sum(dim=1).mean()


def _cross_entropy(net: torch.nn.Module, frames: Tensor, batch: Batch) -> Tensor:
    return cross_entropy(net(frames), batch["severity"])


def _segmentation(net: torch.nn.Module, frames: Tensor, batch: Batch) -> Tensor:
    """Cross-entropy and Dice of one class (Mason et al. 2021)."""
    logits = net(frames.contiguous(memory_format=torch.channels_last))[:, 0]
    truth, probability = (batch["masks"][:, 0] == 1).float(), logits.sigmoid()
    dice = 2 * (probability * truth).sum() + 1e-7
    entropy = binary_cross_entropy_with_logits(logits, truth)
    return entropy + (1 - dice / (probability.sum() + truth.sum() + 1e-7))
