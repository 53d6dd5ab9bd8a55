"""Augmentation in one pass against the same steps one by one.

Letters: B clips, T frames, H rows, W columns; b clips that a step changes.
Measured: a training batch of three studies at its published size, frames in [0, 1]: four clips of
15 frames (Gare et al. 2022), 64 frames (Roy et al. 2020, scores), 32 frames with masks in six steps
(Roy et al. 2020, segmentation).
The rival takes the same parameters and steps in the same order, each over the clips that it
changes, in place where it can; it leaves out what a recipe leaves out, and gamma and noise of
`Augment`. As steps one by one interpolate several times and cut at the edges each time, images that
are smooth and dark at the edges are compared: greys within 0.01, and class ids, but for one pixel
in a thousand.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import affine_grid, conv2d, grid_sample

from lus_ray.bench.inputs import phantom_frames
from lus_ray.bench.measure import Comparison, Run, refuse, torch_threads
from lus_ray.data.transforms.augment import ROY_2020, Augment
from lus_ray.data.transforms.augment_roy2020 import REST, TRUNCATE, SixSteps
from lus_ray.data.transforms.view import View

Shape = tuple[int, int, int, int]
Parameters = dict[str, Float[Tensor, "B"]]
Images = tuple[Tensor, ...]
"""Frames (B, T, H, W) in [0, 1], and class ids of the same shape where there are any."""

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
    sides: dict[str, tuple[Run, Run]] = {
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


def augment_batch(steps: Run, real: Images, *, batch: Images | None = None) -> list[Images]:
    """The batch, or another, with each seed, by steps that are called as a recipe is."""
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


def one_by_one(recipe: Augment, frames: Tensor, generator: torch.Generator) -> Tensor:
    """Crop, flip, scale, rotation and shift, each in a pass of its own, then the greys."""
    sampled = recipe.draw(len(frames), generator)
    still = torch.zeros(len(frames))
    if not recipe.crop == recipe.aspect == (1.0, 1.0):
        right, down = 2 * sampled["crop_right"], 2 * sampled["crop_down"]
        width, height = sampled["crop_width"], sampled["crop_height"]
        frames = _warp(frames, [width, still, right, still, height, down])
    mirrored = (sampled["mirror"] < 0).nonzero()[:, 0]
    frames = _change(mirrored, frames, lambda some: some.flip(-1))
    shape = frames.shape[2] / frames.shape[3]
    if recipe.scale:
        size = 1 / sampled["scale"]
        frames = _warp(frames, [size, still, still, still, size, still])
    if recipe.rotate_deg:
        cos, sin = sampled["angle"].cos(), sampled["angle"].sin()
        rotated = (sampled["angle"] != 0).nonzero()[:, 0]
        rows = [cos, -sin * shape, still, sin / shape, cos, still]
        frames = _change(rotated, frames, lambda some: _warp(some, [v[rotated] for v in rows]))
    if recipe.translate:
        unit = torch.ones(len(frames))
        shift = [unit, still, -2 * sampled["right"], still, unit, -2 * sampled["down"]]
        frames = _warp(frames, shift)
    return _change_greys(recipe, frames, sampled)


def six_in_turn(
    recipe: SixSteps, frames: Tensor, masks: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Mirror, affine map, contrast, factor, blur and noise, each for the clips it changes."""
    sampled = recipe.draw(len(frames), generator)
    frames, masks = frames.clone(), masks.clone()
    if len(here := _changed_clips(sampled, "mirror")):
        frames[here], masks[here] = frames[here].flip(-1), masks[here].flip(-1)
    if len(here := _changed_clips(sampled, "scale", "angle", "shear", "right", "down")):
        clips, changed = frames[here], {name: values[here] for name, values in sampled.items()}
        grid = _grid(_inverse_map(changed, clips.shape), clips.shape)
        lowest = clips.amin(dim=(1, 2, 3), keepdim=True)
        read = grid_sample(clips - lowest, grid, mode=recipe.lookup, align_corners=False)
        frames[here] = read.add_(lowest)
        ids = grid_sample(masks[here].to(grid), grid, mode="nearest", align_corners=False)
        masks[here] = ids.to(masks.dtype)
    for name in ("contrast", "intensity"):
        if len(here := _changed_clips(sampled, name)):
            clips = frames[here]
            low, high = (f(dim=(1, 2, 3), keepdim=True) for f in (clips.amin, clips.amax))
            middle = (low + high) / 2 if name == "contrast" else 0
            factor = sampled[name][here, None, None, None]
            frames[here] = (clips - middle).mul_(factor).add_(middle).clamp_(low, high)
    for number in _changed_clips(sampled, "sigma").tolist():
        frames[number] = _blurred(frames[number], float(sampled["sigma"][number]))
    if len(here := _changed_clips(sampled, "noise_std")):
        noise = torch.randn(frames[here].shape, generator=generator)
        frames[here] += noise.mul_(recipe.noise_std)
    return frames.clamp_(0, 1), masks


def _change_greys(recipe: Augment, frames: Tensor, sampled: Parameters) -> Tensor:
    frames = (frames * sampled["intensity"][:, None, None, None]).clamp_(0, 1)
    if recipe.contrast != (1.0, 1.0):
        mean = frames.mean(dim=(1, 2, 3), keepdim=True)
        factor = sampled["contrast"][:, None, None, None]
        frames = frames.sub_(mean).mul_(factor).add_(mean).clamp_(0, 1)
    return frames


def _warp(frames: Tensor, rows: list[Tensor]) -> Tensor:
    """Frames through the two rows of an inverse map per clip; 0 outside."""
    return grid_sample(frames, _grid(rows, frames.shape), align_corners=False)


def _grid(rows: list[Tensor], shape: torch.Size) -> Float[Tensor, "b H W 2"]:
    return affine_grid(
        torch.stack(rows, dim=-1).unflatten(-1, (2, 3)), list(shape), align_corners=False
    )


def _change(here: Int64[Tensor, "b"], frames: Tensor, step: Callable[[Tensor], Tensor]) -> Tensor:
    if not len(here):
        return frames
    if len(here) == len(frames):
        return step(frames)
    return frames.index_copy(0, here, step(frames[here]))


def _changed_clips(sampled: Parameters, *names: str) -> Int64[Tensor, "b"]:
    return torch.stack([sampled[name] != REST[name] for name in names]).any(dim=0).nonzero()[:, 0]


def _inverse_map(sampled: Parameters, shape: torch.Size) -> list[Tensor]:
    """The inverse of scale, rotation, shear and shift, as skimage's AffineTransform has them."""
    angle, shear = sampled["angle"], sampled.get("shear", torch.zeros(shape[0]))
    size, aspect = sampled["scale"] * shear.cos(), shape[2] / shape[3]
    right, down = 2 * sampled["right"], 2 * sampled["down"]
    a, b = (angle + shear).cos() / size, -(angle + shear).sin() * aspect / size
    c, d = angle.sin() / aspect / size, angle.cos() / size
    return [a, b, -a * right - b * down, c, d, -c * right - d * down]


def _blurred(clip: Float[Tensor, "T H W"], sigma: float) -> Float[Tensor, "T H W"]:
    """A Gaussian along rows and columns; the edges mirrored with the last pixel repeated."""
    reach = int(TRUNCATE * sigma + 0.5)
    if not reach:
        return clip
    taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    taps = (taps / taps.sum())[None, None]
    down = conv2d(_symmetric(clip[:, None], reach, axis=2), taps[..., None])
    return conv2d(_symmetric(down, reach, axis=3), taps[:, :, None])[:, 0]


def _symmetric(frames: Tensor, reach: int, *, axis: int) -> Tensor:
    """More pixels at both ends of an axis, the edge repeated: b a | a b c."""
    first, last = frames.narrow(axis, 0, reach), frames.narrow(axis, -reach, reach)
    return torch.cat([first.flip(axis), frames, last.flip(axis)], dim=axis)
