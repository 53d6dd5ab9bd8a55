"""Augmentation: one random affine map and one random change of grey per clip.

Letters: B clips, T frames, H rows, W columns; b clips of a part.
Sources: the defaults are Gare et al. 2022, section 3.4; `ROY_2020` is the other published set.
Crop, flip, scale, rotation and translation are one 2 x 3 matrix: each pixel is interpolated once.
Numbers come from a CPU generator: the same seed gives the same image on any device.
"""

from collections.abc import Iterator
from math import log, pi
from typing import Annotated

import torch
from jaxtyping import Float, Integer
from pydantic import Field
from torch import Tensor
from torch.nn.functional import grid_sample, hardshrink

from lus_ray import settings as bounds
from lus_ray.settings import NonNegativeRange, PositiveRange, Share, settings

FAR_OUTSIDE = 4.0
"""In half sides of the image; no interpolation from there reaches it."""

POINTS_IN_CACHE = 1 << 17
"""Of 8 bytes each."""

Clips = Float[Tensor, "B T H W"]
"""Grey values in [0, 1]."""
Sampled = dict[str, Float[Tensor, "B"]]


@settings
class Augment:
    """Ranges that are sampled uniformly, in the order in which they act; defaults of the paper.

    `crop` is the range of the area that is kept, as a share of the image, and enlarged to all of
    it; `aspect` of its width over its height, where 1 keeps the image's own (sampled uniformly in
    the logarithm). A side longer than the image is cut to it, and nothing is rounded to pixels;
    torchvision's RandomResizedCrop samples again, up to ten times, and rounds.
    `flip` is the probability of a mirrored clip (left and right exchanged).
    `scale` 0.2 enlarges by 0.8-1.2; `rotate_deg` turns by up to so many degrees either way, with
    probability `rotate_share`. `translate` moves by up to this fraction of height and width.
    `gamma` is the range of the exponent on grey values, `intensity` of the factor after it, and
    `contrast` of the factor about the mean grey of the clip after that; the three together happen
    with probability `shade_share`. `noise_std` of Gaussian noise on each pixel of each frame, in
    units of the full grey range.

    Raises:
        ArmError: a value violates a constraint.
    """

    flip: Share = 0.5
    intensity: NonNegativeRange = (0.8, 1.1)
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.2
    rotate_deg: Annotated[float, Field(ge=0, le=180)] = 15.0
    translate: Share = 0.05
    gamma: PositiveRange = (1.0, 1.0)
    noise_std: bounds.NonNegative = 0.0
    crop: Annotated[tuple[bounds.Positive, Share], bounds.Ordered] = (1.0, 1.0)
    aspect: PositiveRange = (1.0, 1.0)
    contrast: NonNegativeRange = (1.0, 1.0)
    rotate_share: Share = 1.0
    shade_share: Share = 1.0

    def __call__(self, frames: Clips, generator: torch.Generator) -> Clips:
        return self.with_masks(frames, frames[:, :0].byte(), generator)[0]

    def with_masks(
        self, frames: Clips, masks: Integer[Tensor, "B M H W"], generator: torch.Generator
    ) -> tuple[Clips, Integer[Tensor, "B M H W"]]:
        """Frames as in a plain call, and class ids moved with them: nearest, 0 outside."""
        sampled = self.draw(len(frames), generator)
        moved, ids = torch.empty_like(frames), torch.empty_like(masks)
        for part, grid in _grids(sampled, frames):
            moved[part] = grid_sample(frames[part], grid, align_corners=False)
            if masks.numel():
                read = grid_sample(masks[part].to(grid), grid, mode="nearest", align_corners=False)
                ids[part] = read.to(ids.dtype)
        return self._shade(moved, sampled, generator), ids

    def draw(self, num_clips: int, generator: torch.Generator) -> Sampled:
        """Parameters per clip, on the CPU: `mirror` (+1 or -1), `scale` (factor), `angle` (radians,
        counter-clockwise as seen), `right`, `down` (fractions of the size), `intensity`, `gamma`,
        `contrast`, and of the crop `crop_width`, `crop_height` (shares of the sides), `crop_right`,
        `crop_down` (from the middle of the image to that of the crop, fractions of the size).
        """
        unit = torch.rand(num_clips, 7, generator=generator, dtype=torch.float32).unbind(1)
        more = self._more(num_clips, generator).unbind(1)
        low, high = self.aspect
        area, aspect = between(*self.crop, more[0]), between(log(low), log(high), more[1]).exp()
        width, height = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
        turned, shaded = more[4] < self.rotate_share, more[5] < self.shade_share
        angle = between(-self.rotate_deg, self.rotate_deg, unit[2]) * (pi / 180)
        return {
            "crop_width": width,
            "crop_height": height,
            "crop_right": (1 - width) * (more[2] - 0.5),
            "crop_down": (1 - height) * (more[3] - 0.5),
            "mirror": torch.where(unit[0] < self.flip, -1.0, 1.0),
            "scale": between(1 - self.scale, 1 + self.scale, unit[1]),
            "angle": torch.where(turned, angle, 0.0),
            "right": between(-self.translate, self.translate, unit[3]),
            "down": between(-self.translate, self.translate, unit[4]),
            "intensity": torch.where(shaded, between(*self.intensity, unit[5]), 1.0),
            "gamma": torch.where(shaded, between(*self.gamma, unit[6]), 1.0),
            "contrast": torch.where(shaded, between(*self.contrast, more[6]), 1.0),
        }

    def _more(self, num_clips: int, generator: torch.Generator) -> Float[Tensor, "B 7"]:
        """Random numbers for crop, contrast and shares; zeros where all of these are fixed.

        The generator is untouched then, so that seeds of runs without them keep their meaning.
        """
        fixed = self.crop == self.aspect == self.contrast == (1.0, 1.0)
        if fixed and self.rotate_share == self.shade_share == 1:
            return torch.zeros(num_clips, 7)
        return torch.rand(num_clips, 7, generator=generator, dtype=torch.float32)

    def _shade(self, frames: Tensor, sampled: Sampled, generator: torch.Generator) -> Clips:
        if self.gamma != (1.0, 1.0):
            frames = frames.clamp_(min=0).pow_(per_clip(sampled["gamma"], frames))
        frames = frames.mul_(per_clip(sampled["intensity"], frames))
        if self.contrast != (1.0, 1.0):
            mean = frames.clamp_(0, 1).mean(dim=(1, 2, 3), keepdim=True)
            frames = torch.lerp(mean, frames, per_clip(sampled["contrast"], frames))
        if self.noise_std > 0:
            noise = torch.randn(frames.shape, generator=generator, dtype=torch.float32)
            frames = frames.add_(noise.to(frames), alpha=self.noise_std)
        return frames.clamp_(0, 1)


ROY_2020 = Augment(
    crop=(0.9, 1.0),
    aspect=(9 / 10, 10 / 9),
    flip=0.5,
    scale=0.0,
    rotate_deg=23.0,
    rotate_share=0.8,
    translate=0.0,
    intensity=(0.7, 1.3),
    contrast=(0.7, 1.3),
    shade_share=0.8,
)
"""Roy et al. 2020, frame scores, as their released training code sets it. Two things differ: its
ColorJitter shuffles brightness and contrast, here brightness comes first; and it measures the
aspect in pixels before the resize, which cuts the sides of every image much wider than high."""


def _grids(sampled: Sampled, frames: Tensor) -> Iterator[tuple[slice, Float[Tensor, "b H W 2"]]]:
    """Parts of the batch and where each is read: on a CPU, as many clips as fit in its cache."""
    num_clips, _, height, width = frames.shape
    a_thread = max(1, POINTS_IN_CACHE // max(1, height * width))
    step = a_thread * torch.get_num_threads() if frames.device.type == "cpu" else num_clips
    for start in range(0, num_clips, max(1, step)):
        part = slice(start, start + step)
        own = {name: values[part] for name, values in sampled.items()}
        yield part, _grid(own, frames[part])


def _grid(sampled: Sampled, frames: Tensor) -> Float[Tensor, "b H W 2"]:
    """Where each output pixel is read, in the units of `grid_sample` (-1 to 1 over each axis).

    The inverse of out = rotate(scale * mirror(enlarged crop(in))) + shift, in pixels from the
    centre. The factor H / W keeps a rotation rigid where the image is not square.
    """
    height, width = frames.shape[2:]
    x = (2 * torch.arange(width) + 1) / width - 1 - 2 * sampled["right"][:, None]
    y = (2 * torch.arange(height) + 1) / height - 1 - 2 * sampled["down"][:, None]
    mirror, angle, scale = (sampled[name][:, None] for name in ("mirror", "angle", "scale"))
    cos, sin = angle.cos() / scale, angle.sin() / scale
    columns = torch.stack([mirror * cos * x, sin * (width / height) * x], dim=1)
    rows = torch.stack([-mirror * sin * (height / width) * y, cos * y], dim=1)
    points = columns.to(frames)[:, :, None] + rows.to(frames)[..., None]
    return _into_crop(points, sampled).permute(0, 2, 3, 1)


def _into_crop(points: Tensor, sampled: Sampled) -> Float[Tensor, "b 2 H W"]:
    """Points of the enlarged crop as points of the image; the rest is read as outside."""
    sides = torch.stack([sampled["crop_width"], sampled["crop_height"]], dim=-1)
    if (sides == 1).all():
        return points
    middle = 2 * torch.stack([sampled["crop_right"], sampled["crop_down"]], dim=-1)
    sides, middle = (pair.to(points)[..., None, None] for pair in (sides, middle))
    beyond = hardshrink(points, 1.0)  # zero in the crop, on each axis, and as it was outside
    return points.mul_(sides).add_(middle).add_(beyond, alpha=FAR_OUTSIDE)


def between(low: float, high: float, unit: Float[Tensor, "B"]) -> Float[Tensor, "B"]:
    """Map [0, 1) to a range."""
    return low + (high - low) * unit


def per_clip(values: Float[Tensor, "B"], frames: Tensor) -> Float[Tensor, "B 1 1 1"]:
    return values.to(frames)[:, None, None, None]
