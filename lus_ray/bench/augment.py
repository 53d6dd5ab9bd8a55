"""Augmentation in one pass against the same steps one by one.

Letters: B clips, T frames, H rows, W columns.
What is measured: a training batch of three studies at its published size, frames in [0, 1]. Four
clips of 15 frames (Gare et al. 2022), 64 frames (Roy et al. 2020, scores), and 32 frames with masks
in six steps (Roy et al. 2020, segmentation).
The rival takes the same draws and the same steps in the same order, each over the whole batch or
over the clips that drew it, pointwise ones in place; "one map a clip" joins scale, rotation and
shift in one matrix, as torchvision's RandomAffine does, and takes clip after clip, as it does.
What is equal: steps one by one interpolate several times and cut at the edges of the picture each
time, so that no pixel of a real picture is quite the same. Before anything is timed, pictures
whose light is smooth and far from the edges have to agree: greys within 0.01 of the full range, but
for one in a thousand, and class ids but for one in a thousand, where a place lies between two
pixels and nothing is interpolated. One pass and Kornia agree in every pixel of these pictures.
"""

from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec

import torch
from torch import Tensor

from lus_ray.bench import augment_rivals
from lus_ray.bench.measure import Measured, interleaved, threads
from lus_ray.bench.pictures import frames_and_masks
from lus_ray.data.transforms.augment import ROY_2020, Augment
from lus_ray.data.transforms.augment_roy2020 import SixSteps
from lus_ray.data.transforms.view import View
from lus_ray.errors import LusError

Shape = tuple[int, int, int, int]
Pictures = tuple[Tensor, ...]
"""Frames (B, T, H, W) in [0, 1], and class ids of the same shape where there are any."""

SHAPES: Mapping[str, Shape] = {
    "clips": (4, 15, 224, 224),
    "frames": (64, 1, 224, 224),
    "six steps": (32, 1, 200, 260),
}
"""Of a training batch, B x T x H x W."""

TOLERANCE = 0.01
SHARE_BETWEEN = 0.001
TARGET = 2.0
NUM_DRAWS = 4
"""A run augments a batch so many times, each time otherwise."""

Run = Callable[..., Tensor | tuple[Tensor, Tensor]]
"""(frames, a generator) or (frames, masks, a generator), as a recipe itself is called."""


def measure(repeats: int = 7, *, shapes: Mapping[str, Shape] = SHAPES) -> dict[str, Measured]:
    """Each kind of batch against its steps one by one; clips and frames against one map a clip.

    On one thread: what one process of several has. Kornia is measured where it is installed.

    Raises:
        LusError: a rival gives other pictures than ours.
    """
    gare, six, one_by_one = Augment(), SixSteps(), "one by one"
    rivals: dict[str, dict[str, Run]] = {
        "clips": {one_by_one: partial(augment_rivals.one_by_one, gare)},
        "frames": {one_by_one: partial(augment_rivals.one_by_one, ROY_2020)},
        "six steps": {one_by_one: partial(augment_rivals.six_in_turn, six)},
    }
    if find_spec("kornia"):
        rivals["clips"]["Kornia"] = partial(augment_rivals.kornia_steps, gare)
    joined: dict[str, dict[str, Run]] = {
        "clips": {"one map a clip": partial(augment_rivals.one_map_a_clip, gare)},
        "frames": {"one map a clip": partial(augment_rivals.one_map_a_clip, ROY_2020)},
    }
    ours: dict[str, Run] = {"clips": gare, "frames": ROY_2020, "six steps": six.with_masks}
    with threads(1):
        found = {
            what: _compare(what, ours[what], rivals[what], shapes[what], repeats, TARGET)
            for what in rivals
        }
        return found | {
            f"{what}, joined": _compare(what, ours[what], joined[what], shapes[what], repeats, None)
            for what in joined
        }


def pictures(shape: Shape) -> tuple[Tensor, Tensor]:
    """A batch of phantom frames, with class ids."""
    num_clips, num_frames, height, width = shape
    view = View(num_frames=1, height=height, width=width, num_samples=0)
    shown = frames_and_masks(view, num_clips=2, num_frames=num_frames, scheme="markers")
    whole = [-(-num_clips // 2), 1, 1, 1]
    frames, ids = (
        torch.from_numpy(part).unflatten(0, (2, num_frames)).repeat(whole)[:num_clips]
        for part in shown
    )
    return frames.float() / 255, ids


def spots(shape: Shape) -> tuple[Tensor, Tensor]:
    """A batch of pictures with one smooth bright spot beside the middle, and its parts as ids."""
    height, width = shape[2:]
    rows = torch.arange(height)[:, None] - 0.47 * height
    columns = torch.arange(width)[None] - 0.52 * width
    spot = 0.9 * torch.exp(-(rows**2 + columns**2) / (2 * (min(height, width) / 10) ** 2))
    frames = spot.expand(shape).contiguous()
    return frames, (4 * frames).to(torch.uint8)


def check_equal(ours: Pictures, theirs: Pictures, name: str) -> None:
    """Refuse to compare pictures that differ in more than one value of a thousand.

    Raises:
        LusError: names the rival and the share of values that differ.
    """
    for kind, mine, other in zip(("greys", "class ids"), ours, theirs, strict=False):
        elsewhere = ((mine.float() - other.float()).abs() <= TOLERANCE).logical_not()
        share = elsewhere.float().mean().item()
        if share > SHARE_BETWEEN:
            raise LusError(
                f"augment: {share:.1%} of the {kind} of {name!r} differ from ours; no ratio is "
                "given for unequal work"
            )


def _compare(
    what: str,
    ours: Run,
    rivals: dict[str, Run],
    shape: Shape,
    repeats: int,
    target: float | None,
) -> Measured:
    taken = 2 if what == "six steps" else 1  # frames alone, or with masks
    smooth, real = spots(shape)[:taken], pictures(shape)[:taken]
    for name, rival in rivals.items():
        for seed in range(NUM_DRAWS):
            check_equal(_once(ours, smooth, seed), _once(rival, smooth, seed), f"{what}, {name}")
    return interleaved(
        partial(_often, ours, real),
        {name: partial(_often, rival, real) for name, rival in rivals.items()},
        repeats=repeats,
        warmup=1,
        target=target,
    )


def _once(run: Run, batch: Pictures, seed: int) -> Pictures:
    found = run(*batch, torch.Generator().manual_seed(seed))
    return found if isinstance(found, tuple) else (found,)


def _often(run: Run, batch: Pictures) -> None:
    for seed in range(NUM_DRAWS):
        _once(run, batch, seed)
