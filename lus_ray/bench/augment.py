"""Augmentation in one pass against the same steps one by one.

Letters: B clips, T frames, H rows, W columns.
Measured: a training batch of three studies at its published size, frames in [0, 1]: four clips of
15 frames (Gare et al. 2022), 64 frames (Roy et al. 2020, scores), 32 frames with masks in six steps
(Roy et al. 2020, segmentation).
The baseline takes the same parameters and steps in the same order, each over the clips that it
changes, in place where it can; "one map a clip" joins scale, rotation and shift in one matrix, clip
after clip, as torchvision's RandomAffine does. As steps one by one interpolate several times and
cut at the edges each time, images that are smooth and dark at the edges are compared: greys within
0.01, and class ids, but for one pixel in a thousand.
"""

from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec

import torch
from torch import Tensor

from lus_ray.bench.augment_baselines import kornia_steps, one_by_one, one_map_a_clip, six_in_turn
from lus_ray.bench.inputs import phantom_frames
from lus_ray.bench.measure import Comparison, compare_in_turn, refuse, torch_threads
from lus_ray.data.transforms.augment import ROY_2020, Augment
from lus_ray.data.transforms.augment_roy2020 import SixSteps
from lus_ray.data.transforms.view import View

Shape = tuple[int, int, int, int]
Images = tuple[Tensor, ...]
"""Frames (B, T, H, W) in [0, 1], and class ids of the same shape where there are any."""

Run = Callable[..., Tensor | tuple[Tensor, Tensor]]
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


def measure(repeats: int = 7, *, shapes: Mapping[str, Shape] = SHAPES) -> dict[str, Comparison]:
    """Each kind of batch on one thread; Kornia where it is installed."""
    gare, six = Augment(), SixSteps()
    ours: dict[str, Run] = {"clips": gare, "frames": ROY_2020, "six steps": six.with_masks}
    baselines: dict[str, dict[str, Run]] = {
        "clips": {"one by one": partial(one_by_one, gare)},
        "frames": {"one by one": partial(one_by_one, ROY_2020)},
        "six steps": {"one by one": partial(six_in_turn, six)},
        "clips, joined": {"one map a clip": partial(one_map_a_clip, gare)},
        "frames, joined": {"one map a clip": partial(one_map_a_clip, ROY_2020)},
    }
    if find_spec("kornia"):
        baselines["clips"]["Kornia"] = partial(kornia_steps, gare)
    results = {}
    with torch_threads(1):
        for name, runs in baselines.items():
            kind, _, joined = name.partition(",")
            target = None if joined else TARGET
            results[name] = _compare(kind, ours[kind], runs, shapes[kind], repeats, target)
    return results


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


def check_equal(ours: Images, theirs: Images, name: str) -> None:
    """Raise LusError if more than one value of a thousand differs."""
    for kind, values, others in zip(("greys", "class ids"), ours, theirs, strict=False):
        is_close = torch.isclose(values.float(), others.float(), rtol=0, atol=TOLERANCE)
        share = 1 - is_close.float().mean().item()
        if share > SHARE_BETWEEN:
            refuse(f"augment: {share:.1%} of the {kind} of {name!r} differ from ours")


def _compare(
    kind: str,
    ours: Run,
    baselines: dict[str, Run],
    shape: Shape,
    repeats: int,
    target: float | None,
) -> Comparison:
    num_inputs = 2 if kind == "six steps" else 1  # frames alone, or with masks
    smooth, real = spots(shape)[:num_inputs], phantom_images(shape)[:num_inputs]
    for name, baseline in baselines.items():
        for seed in range(NUM_DRAWS):
            check_equal(_once(ours, smooth, seed), _once(baseline, smooth, seed), f"{kind}, {name}")
    return compare_in_turn(
        partial(_often, ours, real),
        {name: partial(_often, baseline, real) for name, baseline in baselines.items()},
        repeats=repeats,
        target=target,
    )


def _once(run: Run, batch: Images, seed: int) -> Images:
    images = run(*batch, torch.Generator().manual_seed(seed))
    return images if isinstance(images, tuple) else (images,)


def _often(run: Run, batch: Images) -> None:
    for seed in range(NUM_DRAWS):
        _once(run, batch, seed)
