"""A step of the training loop on a GPU, against plain float32 and against its arithmetic alone.

Letters: B clips in a batch, T frames, H rows, W columns.
Measured: one epoch of the loop at published sizes, with uint8 batches from the host, in half
precision and channels last. The rivals: the same networks, losses and updates in float32; and
bfloat16 products of square matrices with as many operations, whose ratio is the share of the GPU's
arithmetic that a step uses. Dropout is off, as both sides would draw it in another order.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import torch
from torch.nn.modules.dropout import _DropoutNd as Dropout
from torch.utils.flop_counter import FlopCounterMode

from lus_ray.bench.measure import Comparison, Run, refuse
from lus_ray.bench.train import Batch, batches, fit_epoch
from lus_ray.data.transforms.view import View
from lus_ray.experiment import Recipe
from lus_ray.nets import TSM, FrameCNN, SifaSegmenter, UNet
from lus_ray.tasks import BinarySegmentation, ClipLabel, FrameScore, Sifa
from lus_ray.tasks.task import Task, to_unit_range

DEVICE = "cuda"
SIDE = 4096  # of matrices: large enough for the GPU's best, few of them make up a step
TOLERANCE = 0.1
RECIPE = Recipe(epochs=1, batch=0, lr=1e-4, weight_decay=0.0, select="last")


def gpu_cases() -> Mapping[str, tuple[Callable[[], Task], int]]:
    """Tasks and clips of a batch."""
    frame, image = View(1, 224, 224, 0), View(1, 256, 256, 0)
    clip = View(num_frames=15, height=224, width=224, num_samples=1)
    bline = partial(UNet, widths=(16, 32, 64, 128), dropout=0.5, bias=True)
    return {
        "FrameCNN, 64 of 224 x 224": (partial(FrameScore, FrameCNN, view=frame), 64),
        "TSM, 4 of 15 x 224 x 224": (partial(ClipLabel, TSM, label="severity", view=clip), 4),
        "U-Net, 16 of 256 x 256": (partial(BinarySegmentation, bline, view=image), 16),
        "SIFA, 12 of 256 x 256": (partial(Sifa, net=SifaSegmenter, view=image), 12),
    }


def compare(*, num_steps: int = 20) -> Iterator[tuple[str, Comparison]]:
    """An epoch of each network; nothing where there is no GPU."""
    if torch.cuda.is_available():
        for name, case in gpu_cases().items():
            yield name, compare_loops(*case, num_steps)


def compare_loops(factory: Callable[[], Task], num_clips: int, num_steps: int) -> Comparison:
    ours, plain = (disable_dropout(factory()).to(DEVICE) for _ in range(2))
    plain.load_state_dict(ours.state_dict())
    data = batches(ours, num_clips, num_steps, unlabelled=isinstance(ours, Sifa))
    check_close(with_loop(ours, data[:1]), with_float32(plain, data[:1]))
    operations = num_steps * count_operations(plain, data[0])
    rivals: dict[str, Run] = {
        "float32": partial(with_float32, plain, data),
        "its arithmetic": partial(multiply, operations),
    }
    return Comparison(partial(with_loop, ours, data), rivals)


def disable_dropout(task: Task) -> Task:
    for module in task.modules():
        if isinstance(module, Dropout):
            module.p = 0.0
    return task


def with_loop(task: Task, data: list[Batch]) -> float:
    loss = fit_epoch(task, data, RECIPE, DEVICE)
    torch.cuda.synchronize()
    return loss


def with_float32(task: Task, data: list[Batch]) -> float:
    """The mean loss of an epoch as one would write it first."""
    adams = {
        network: torch.optim.Adam(task.get_submodule(network).parameters(), RECIPE.lr)
        for network in task.networks
    }
    task.train()
    total = 0.0
    for batch in data:
        on_device = {name: value.to(DEVICE) for name, value in batch.items()}
        images = on_device.keys() & {"frames", "target_frames"}
        on_device |= {name: to_unit_range(on_device[name]) for name in images}
        for network, adam in adams.items():
            task.zero_grad(set_to_none=True)
            loss = task(on_device, network)["loss"]
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
    """Raise LusError if losses are further apart than precision explains."""
    if not abs(ours - theirs) <= TOLERANCE * abs(theirs):
        refuse(f"gpu: in float32 the first step has a loss of {theirs!r} where ours has {ours!r}")
