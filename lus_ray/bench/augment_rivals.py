"""The steps of both augmentations one after another in plain torch: rivals of one pass.

Letters: B clips, T frames, H rows, W columns; b clips that a step changes.
Steps that a recipe leaves out are left out here, too, and gamma and noise of `Augment`.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import affine_grid, conv2d, grid_sample

from lus_ray.data.transforms.augment import Augment
from lus_ray.data.transforms.augment_roy2020 import REST, TRUNCATE, SixSteps

Parameters = dict[str, Float[Tensor, "B"]]


def one_by_one(recipe: Augment, frames: Tensor, generator: torch.Generator) -> Tensor:
    """Crop, flip, scale, rotation and shift, each in a pass of its own, then the greys."""
    sampled = recipe.draw(len(frames), generator)
    frames = _flip(_crop(recipe, frames, sampled), sampled)
    still = torch.zeros(len(frames))
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
        grid = _affine_grid(changed, clips.shape)
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


def _crop(recipe: Augment, frames: Tensor, sampled: Parameters) -> Tensor:
    if recipe.crop == recipe.aspect == (1.0, 1.0):
        return frames
    still = torch.zeros(len(frames))
    right, down = 2 * sampled["crop_right"], 2 * sampled["crop_down"]
    return _warp(frames, [sampled["crop_width"], still, right, still, sampled["crop_height"], down])


def _flip(frames: Tensor, sampled: Parameters) -> Tensor:
    mirrored = (sampled["mirror"] < 0).nonzero()[:, 0]
    return _change(mirrored, frames, lambda some: some.flip(-1))


def _change_greys(recipe: Augment, frames: Tensor, sampled: Parameters) -> Tensor:
    frames = (frames * sampled["intensity"][:, None, None, None]).clamp_(0, 1)
    if recipe.contrast != (1.0, 1.0):
        mean = frames.mean(dim=(1, 2, 3), keepdim=True)
        factor = sampled["contrast"][:, None, None, None]
        frames = frames.sub_(mean).mul_(factor).add_(mean).clamp_(0, 1)
    return frames


def _warp(frames: Tensor, rows: list[Tensor]) -> Tensor:
    """Frames through the two rows of an inverse map per clip; 0 outside."""
    theta = torch.stack(rows, dim=-1).unflatten(-1, (2, 3))
    grid = affine_grid(theta, list(frames.shape), align_corners=False)
    return grid_sample(frames, grid, align_corners=False)


def _change(here: Int64[Tensor, "b"], frames: Tensor, step: Callable[[Tensor], Tensor]) -> Tensor:
    if not len(here):
        return frames
    if len(here) == len(frames):
        return step(frames)
    return frames.index_copy(0, here, step(frames[here]))


def _changed_clips(sampled: Parameters, *names: str) -> Int64[Tensor, "b"]:
    return torch.stack([sampled[name] != REST[name] for name in names]).any(dim=0).nonzero()[:, 0]


def _affine_grid(sampled: Parameters, shape: torch.Size) -> Float[Tensor, "b H W 2"]:
    """The inverse of scale, rotation, shear and shift, as skimage's AffineTransform has them."""
    scale, angle = sampled["scale"], sampled["angle"]
    shear = sampled.get("shear", torch.zeros_like(angle))
    aspect = shape[2] / shape[3]
    first = [(angle + shear).cos(), -(angle + shear).sin() * aspect]
    rows = torch.stack([*first, angle.sin() / aspect, angle.cos()], dim=-1).unflatten(-1, (2, 2))
    rows /= (scale * shear.cos())[:, None, None]
    shift = 2 * torch.stack([sampled["right"], sampled["down"]], dim=-1)[..., None]
    theta = torch.cat([rows, -rows @ shift], dim=-1)
    return affine_grid(theta, list(shape), align_corners=False)


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
