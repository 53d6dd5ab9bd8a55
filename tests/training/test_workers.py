"""Two workers, in plain processes with gloo, train every family as one does."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import distributed, multiprocessing, nn
from torch.nn.functional import batch_norm
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm
from torch.nn.parallel import DistributedDataParallel

from lus_ray.clip import BIOMARKERS, MASK_SCHEMES
from lus_ray.data.labels import PNEUMONIA_DIAGNOSIS
from lus_ray.data.loading.batches import InMemory, pair_streams, size_of
from lus_ray.data.transforms.view import View
from lus_ray.experiment import Recipe
from lus_ray.nets import (
    I3D,
    STN,
    TSM,
    DeepLabV3Plus,
    FrameCNN,
    MarkerUNet,
    RegSTN,
    ReleasedUNetPlusPlus,
    ReverseTransfer,
    SifaSegmenter,
    UNet,
    resnet18,
)
from lus_ray.tasks import (
    BinarySegmentation,
    Biomarkers,
    ClipLabel,
    FrameDiagnosis,
    FrameScore,
    Segmentation,
    Sifa,
)
from lus_ray.training import loop

NUM_STEPS, NUM_HALVED = 20, 5
FRAME = View(num_frames=1, height=32, width=32, num_samples=0)
SCORED = View(num_frames=1, height=64, width=64, num_samples=0)
CLIP = View(num_frames=4, height=32, width=32, num_samples=1)
small_unet = partial(UNet, widths=(4, 8))
MARKED = View(num_frames=1, height=40, width=40, num_samples=0)
markers = partial(Segmentation, scheme="markers", view=MARKED, monitor="union_dice", channels=3)


class SifaInDouble(Sifa):
    """SIFA in float64: its losses have kinks, where rounding errors of float32 grow with steps."""

    frames: Any = None
    doubled: Any = None

    def forward(self, batch, network):
        if self.frames is not batch["frames"]:
            self.frames = batch["frames"]
            self.doubled = {k: v.double() if v.is_floating_point() else v for k, v in batch.items()}
        return super().forward(self.doubled, network)

    def to_images(self, frames):
        return super().to_images(frames.double())


sifa = partial(SifaInDouble, net=partial(SifaSegmenter, width=2), view=FRAME, num_units=1)
FAMILIES = {
    "TSM": partial(ClipLabel, backbone=partial(TSM, width=8), view=CLIP, label="severity"),
    "TSM, biomarkers": partial(Biomarkers, backbone=partial(TSM, width=8), view=CLIP),
    "I3D": partial(ClipLabel, backbone=partial(I3D, width=8), view=CLIP, label="severity"),
    "U-Net": partial(Segmentation, net=small_unet, scheme="dense", view=FRAME),
    "U-Net, Dice": partial(BinarySegmentation, net=small_unet, view=FRAME),
    "U-Net of markers": partial(markers, net=partial(MarkerUNet, width=4)),
    "U-Net++": partial(markers, net=partial(ReleasedUNetPlusPlus, width=8)),
    "DeepLabv3+": partial(markers, net=partial(DeepLabV3Plus, width=8)),
    "reverse transfer": partial(
        FrameDiagnosis, net=partial(ReverseTransfer, num_maps=4, widths=(4, 8)), view=FRAME,
        classes=PNEUMONIA_DIAGNOSIS.classes,
    ),
    "frame CNN": partial(FrameScore, net=partial(FrameCNN, width=4), view=SCORED),
    "ResNet-18": partial(FrameScore, net=partial(resnet18, width=8), view=SCORED),
    "STN": partial(FrameScore, net=partial(STN, width=4), view=SCORED),
    "RegSTN": partial(FrameScore, net=partial(RegSTN, width=4), view=SCORED),
    "SIFA": sifa,
    "SIFA v2": partial(sifa, version=2),
}  # fmt: skip


@dataclass(frozen=True)
class Training:
    """One training of a family; each epoch is one step, whose loss is reported."""

    family: str
    norms: str  # "none", "kept", or "halves": every half of a batch is normalised by itself
    num_steps: int = NUM_STEPS

    @property
    def batch(self) -> int:
        return 4 if self.norms == "none" else 8  # norms of half of it need a few samples

    @property
    def recipe(self) -> Recipe:
        # Norms of few values, losses with kinks and Adam's signs make rounding errors grow.
        is_delicate = self.norms != "none" or self.family.startswith("SIFA")
        lr = 1e-5 if is_delicate else 1e-4
        return Recipe(epochs=self.num_steps, batch=self.batch, lr=lr, select="last")

    def build(self) -> Any:
        """The task with its initial weights, without dropout."""
        torch.manual_seed(0)
        task = FAMILIES[self.family]()
        _replace_norms(task, self.norms)
        if isinstance(task, SifaInDouble):
            task.double()
        for module in task.modules():
            if hasattr(module, "p"):
                module.p = 0.0
        return task

    def run(self, *, rank: int = 0, workers: int = 1) -> dict[str, torch.Tensor]:
        """Losses of all steps, and the state of the task."""
        torch.set_num_threads(1)
        task = self.build()
        losses: list[float] = []
        wrap = partial(DistributedDataParallel, find_unused_parameters=len(task.networks) > 1)
        halves = self.norms == "halves"
        result = loop.fit(
            task, batches=_batches(task, self.batch, rank=rank, workers=workers, by_halves=halves),
            validate=lambda task: {"score": 0.0}, recipe=self.recipe, seed=0, rank=rank,
            report=lambda values: losses.append(values["train_loss"]),
            prepare=wrap if workers > 1 else None,
        )  # fmt: skip
        assert not result.notes
        return {"losses": torch.tensor(losses), **task.state_dict()}


class HalvesNorm(nn.Module):
    """A batch norm of a process that plays two workers; keeps the statistics of the first."""

    def __init__(self, norm: BatchNorm) -> None:
        super().__init__()
        self.weight, self.bias = norm.weight, norm.bias
        for name, value in norm.named_buffers():
            self.register_buffer(name, value)
        self.momentum, self.eps = norm.momentum, norm.eps

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        first, second = inputs.chunk(2)
        if self.training:
            self.num_batches_tracked += 1
        running = (self.running_mean, self.running_var)
        settings = (self.weight, self.bias, self.training, self.momentum, self.eps)
        own = batch_norm(first, *running, *settings)
        other = batch_norm(second, *[value.clone() for value in running], *settings)
        return torch.cat([own, other])


def _replace_norms(module: nn.Module, how: str) -> None:
    for name, child in module.named_children():
        if isinstance(child, BatchNorm) and how != "kept":
            kind = HalvesNorm(child) if how == "halves" else nn.GroupNorm(1, child.num_features)
            setattr(module, name, kind)
        else:
            _replace_norms(child, how)


def random_clips(task: Any, count: int) -> tuple[list[dict[str, Any]], InMemory]:
    """Rows with every label, and frames and masks at the size of the task's view."""
    view, rng, number = task.view, np.random.default_rng(0), NUM_STEPS
    size, clips = size_of(view), [f"clip {n}" for n in range(count)]
    shape = (number, view.height, view.width)
    frames = {clip: rng.integers(0, 255, shape, dtype=np.uint8) for clip in clips}
    ids = {clip: rng.integers(0, 2, shape, dtype=np.uint8) for clip in clips}
    ids[clips[0]][:] = 0  # so that the halves differ in what they show
    rows = [
        {
            "clip": clip, "num_frames": number, "severity": n % 4,
            "disease": ("healthy", "COVID-19 pneumonia")[n % 2], "mask_scheme": task.scheme,
            "frame_severity": rng.integers(0, 4, number).tolist(),
            "biomarkers": np.where(rng.random(len(BIOMARKERS)) < n / count, -1, n % 2).tolist(),
        }
        for n, clip in enumerate(clips)
    ]  # fmt: skip
    return rows, InMemory({size: frames}, {size: ids})


def _batches(task: Any, batch: int, *, rank: int, workers: int, by_halves: bool) -> Any:
    """Random clips through the sampler that every transport uses."""
    rows, pixels = random_clips(task, batch)
    epochs = partial(
        pixels.epochs, rows, view=task.view, batch=batch, by_frame=task.view.is_per_frame,
        num_samples=batch, rank=rank, workers=workers,
    )  # fmt: skip
    batches = epochs(seed=0, columns=task.columns, scheme=task.scheme, classes=task.classes)
    if isinstance(task, Sifa):
        batches = pair_streams(batches, epochs(seed=1, columns=()))
    if not by_halves:
        return batches
    order = [*range(0, batch, 2), *range(1, batch, 2)]
    return lambda *where: ({k: v[order] for k, v in b.items()} for b in batches(*where))


def _train_as_worker(rank: int, folder: str, training: Training) -> None:
    store = f"file://{folder}/store"
    distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    save_file(training.run(rank=rank, workers=2), f"{folder}/{rank}")
    distributed.destroy_process_group()


def train_with_two_workers(training: Training, folder: Any) -> dict[str, torch.Tensor]:
    """What both workers hold at the end, which has to be the same."""
    arguments = (str(folder), training)
    multiprocessing.start_processes(_train_as_worker, arguments, nprocs=2, start_method="fork")
    first, second = (load_file(folder / str(rank)) for rank in (0, 1))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    return first


def test_every_scheme_of_the_families_exists():
    assert {FAMILIES[name]().scheme for name in FAMILIES} - {None} <= set(MASK_SCHEMES)


@pytest.mark.full
@pytest.mark.parametrize("family", FAMILIES)
def test_losses_without_batch_norm_are_those_of_one_worker(family, tmp_path):
    training = Training(family, "none")
    alone, together = training.run(), train_with_two_workers(training, tmp_path)
    assert len(alone["losses"]) == NUM_STEPS
    torch.testing.assert_close(together["losses"], alone["losses"], rtol=1e-4, atol=0)


@pytest.mark.full
@pytest.mark.parametrize("family", FAMILIES)
def test_batch_norms_on_cpus_normalise_each_half_by_itself(family, tmp_path):
    alone, together, whole = (
        Training(family, "halves", NUM_HALVED).run(),
        train_with_two_workers(Training(family, "kept", NUM_HALVED), tmp_path),
        Training(family, "kept", NUM_HALVED).run(),
    )
    torch.testing.assert_close(together["losses"], alone["losses"], rtol=1e-4, atol=0)
    for name in (name for name in alone if name.endswith("running_mean")):
        torch.testing.assert_close(together[name], alone[name], rtol=1e-2, atol=1e-3, msg=name)
    if any(isinstance(module, BatchNorm) for module in FAMILIES[family]().modules()):
        error = (together["losses"] - alone["losses"]).abs().max()
        assert (whole["losses"] - alone["losses"]).abs().max() > 10 * error
