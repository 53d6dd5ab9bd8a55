"""Augmentation in one pass against the same steps one by one.

Letters: B clips, T frames, H rows, W columns.
Measured: a training batch of three studies at its published size, frames in [0, 1]: four clips of
15 frames (Gare et al. 2022), 64 frames (Roy et al. 2020, scores), 32 frames with masks in six steps
(Roy et al. 2020, segmentation).
The rival takes the same parameters and steps in the same order, each over the clips that it
changes, in place where it can. As steps one by one interpolate several times and
cut at the edges each time, images that are smooth and dark at the edges are compared: greys within
0.01, and class ids, but for one pixel in a thousand.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import torch
from torch import Tensor

from lus_ray.bench.augment_rivals import one_by_one, six_in_turn
from lus_ray.bench.inputs import phantom_frames
from lus_ray.bench.measure import Comparison, Run, refuse, torch_threads
from lus_ray.data.transforms.augment import ROY_2020, Augment
from lus_ray.data.transforms.augment_roy2020 import SixSteps
from lus_ray.data.transforms.view import View

Shape = tuple[int, int, int, int]
Images = tuple[Tensor, ...]
"""Frames (B, T, H, W) in [0, 1], and class ids of the same shape where there are any."""

Steps = Callable[..., Tensor | tuple[Tensor, Tensor]]
"""(frames, generator) or (frames, masks, generator), as a recipe itself is called."""

SHAPES: Mapping[str, Shape] = {
    "clips": (4, 15, 224, 224),
    "frames": (64, 1, 224, 224),
    "six steps": (32, 1, 200, 260),
}
TOLERANCE = 0.01
SHARE_BETWEEN = 0.001
TARGET = 2.0
NUM_DRAWS = 4  # seeds with which a run augments its batch


def compare(*, shapes: Mapping[str, Shape] = SHAPES) -> Iterator[tuple[str, Comparison]]:
    """Each kind of batch on one thread."""
    gare, six = Augment(), SixSteps()
    sides: dict[str, tuple[Steps, Steps]] = {
        "clips": (gare, partial(one_by_one, gare)),
        "frames": (ROY_2020, partial(one_by_one, ROY_2020)),
        "six steps": (six.with_masks, partial(six_in_turn, six)),
    }
    with torch_threads(1):
        for name, (steps, in_turn) in sides.items():
            num_inputs = 2 if name == "six steps" else 1  # frames alone, or with masks
            real, smooth = (make(shapes[name])[:num_inputs] for make in (phantom_images, spots))
            ours, theirs = (partial(augment_batch, run, real) for run in (steps, in_turn))
            check = partial(check_equal, smooth=smooth)
            yield name, Comparison(ours, {"one by one": theirs}, check, TARGET)


def augment_batch(steps: Steps, real: Images, *, batch: Images | None = None) -> list[Images]:
    """The batch, or another, with each seed."""
    generators = (torch.Generator().manual_seed(seed) for seed in range(NUM_DRAWS))
    results = [steps(*(batch or real), generator) for generator in generators]
    return [images if isinstance(images, tuple) else (images,) for images in results]


def phantom_images(shape: Shape) -> Images:
    num_clips, num_frames, height, width = shape
    view = View(num_frames=1, height=height, width=width, num_samples=0)
    frames, ids = phantom_frames(view, num_clips=2, num_frames=num_frames, scheme="markers")
    numbers = torch.arange(num_clips) % 2
    return frames[numbers].float() / 255, ids[numbers]


def spots(shape: Shape) -> Images:
    """A batch of images with one smooth bright spot beside the middle, and its parts as ids."""
    height, width = shape[2:]
    rows = torch.arange(height)[:, None] - 0.47 * height
    columns = torch.arange(width)[None] - 0.52 * width
    spot = 0.9 * torch.exp(-(rows**2 + columns**2) / (2 * (min(height, width) / 10) ** 2))
    frames = spot.expand(shape).contiguous()
    return frames, (4 * frames).to(torch.uint8)


def check_equal(ours: Run, theirs: Run, name: str, *, smooth: Images) -> None:
    """Raise LusError if more than one value of a thousand differs."""
    for images, others in zip(ours(batch=smooth), theirs(batch=smooth), strict=True):
        for kind, values, other in zip(("greys", "class ids"), images, others, strict=False):
            is_close = torch.isclose(values.float(), other.float(), rtol=0, atol=TOLERANCE)
            share = 1 - is_close.float().mean().item()
            if share > SHARE_BETWEEN:
                refuse(f"augment: {share:.1%} of the {kind} of {name!r} differ from ours")
