"""Augmentation in six steps, each of which happens to a clip with a probability of its own.

Letters: B clips, T frames, H rows, W columns; b clips that a step changes.
Source: Roy et al. 2020, segmentation, as their released training code sets it, with two
differences: noise is added to greys in [0, 1] and clipped (the released code adds it to 0-255,
where it cannot show), and nothing is rounded to pixels.
Mirror and affine map are one lookup, contrast and intensity one line and one clipping. Numbers and
both terms of the lookup come from the CPU: the same seed gives the same image on any device.
"""

from math import pi
from typing import Annotated, Literal

import torch
from jaxtyping import Float, Int64, Integer
from pydantic import Field
from torch import Tensor
from torch.nn.functional import grid_sample

from lus_ray.data.transforms.augment import Clips, Sampled, between, per_clip
from lus_ray.settings import NonNegative, NonNegativeRange, PositiveRange, Share, settings

GEOMETRY = ("mirror", "scale", "angle", "shear", "right", "down")
FACTORS = ("mirror", "scale", "contrast", "intensity")
REST = {
    name: float(name in FACTORS)
    for name in (*GEOMETRY, "contrast", "intensity", "sigma", "noise_std")
}
"""Value of each parameter where its step does not happen."""
TRUNCATE = 4.0
"""A blur ends after so many sigmas, as in scipy.ndimage."""


@settings
class SixSteps:
    """Ranges that are sampled uniformly; the defaults are the published ones.

    Each step happens to a clip with probability `share`, alike for all of its frames, in this
    order:
    1. `flip`: the probability of a mirrored clip (left and right exchanged), given the step.
    2. `scale`, the range of the factor of size, `rotate_deg` and `shear_deg` either way, and
       `translate`, a fraction of the height and of the width. What comes from outside of the
       image has the lowest grey of the clip, and class 0.
    3. `contrast`, the range of the factor about the middle between the lowest and highest grey.
    4. `intensity`, the range of the factor on grey. Both are clipped to the greys of the clip.
    5. `blur`, the largest sigma of a Gaussian, in pixels.
    6. `noise_std` of Gaussian noise on each pixel of each frame, in units of the full grey range.
    `lookup` is how images are read in steps 1 and 2: "nearest" as published, or "bilinear";
    class ids are always those of the nearest pixel.

    Raises:
        ArmError: a value violates a constraint.
    """

    share: Share = 0.33
    flip: Share = 0.5
    translate: Share = 0.15
    rotate_deg: Annotated[float, Field(ge=0, le=180)] = 15.0
    shear_deg: Annotated[float, Field(ge=0, lt=90)] = 4.5
    scale: PositiveRange = (0.55, 1.45)
    contrast: NonNegativeRange = (0.55, 1.45)
    intensity: NonNegativeRange = (0.55, 1.45)
    blur: Annotated[float, Field(ge=0, le=100)] = 0.75
    noise_std: NonNegative = 0.015
    lookup: Literal["nearest", "bilinear"] = "nearest"

    def __call__(self, frames: Clips, generator: torch.Generator) -> Clips:
        return self.with_masks(frames, frames[:, :0].byte(), generator)[0]

    def with_masks(
        self, frames: Clips, masks: Integer[Tensor, "B M H W"], generator: torch.Generator
    ) -> tuple[Clips, Integer[Tensor, "B M H W"]]:
        """Frames as in a plain call, and class ids moved with them: nearest, 0 outside."""
        sampled = self.draw(len(frames), generator)
        moved, ids = frames.clone(), masks.clone()
        if len(chosen := _changed(sampled, GEOMETRY)):
            here, grid = chosen.to(frames.device), _grid(sampled, chosen, frames)
            clips = moved[here]
            lowest = clips.amin(dim=(1, 2, 3), keepdim=True)  # comes from outside of the image
            read = grid_sample(clips.sub_(lowest), grid, mode=self.lookup, align_corners=False)
            moved[here] = read.add_(lowest)
            if masks.numel():
                read = grid_sample(ids[here].to(grid), grid, mode="nearest", align_corners=False)
                ids[here] = read.to(ids.dtype)
        return self._shade(moved, sampled, generator), ids

    def draw(self, num_clips: int, generator: torch.Generator) -> Sampled:
        """Parameters per clip, on the CPU: `mirror` (+1 or -1), `scale` (factor), `angle` (radians,
        counter-clockwise as seen), `shear` (radians, by which the vertical turns further),
        `right`, `down` (fractions of the size), `contrast`, `intensity` (factors), `sigma`
        (pixels), `noise_std`. A step that does not happen has the values of `REST`.
        """
        chance = torch.rand(num_clips, 15, generator=generator, dtype=torch.float32)
        flips, moves, contrasts, multiplies, blurs, noises = (chance[:, :6] < self.share).unbind(1)
        unit = chance[:, 6:].unbind(1)
        turn, slant = self.rotate_deg * pi / 180, self.shear_deg * pi / 180
        steps = {
            "mirror": (flips, torch.where(unit[0] < self.flip, -1.0, 1.0)),
            "scale": (moves, between(*self.scale, unit[1])),
            "angle": (moves, between(-turn, turn, unit[2])),
            "shear": (moves, between(-slant, slant, unit[3])),
            "right": (moves, between(-self.translate, self.translate, unit[4])),
            "down": (moves, between(-self.translate, self.translate, unit[5])),
            "contrast": (contrasts, between(*self.contrast, unit[6])),
            "intensity": (multiplies, between(*self.intensity, unit[7])),
            "sigma": (blurs, between(0.0, self.blur, unit[8])),
            "noise_std": (noises, torch.full((num_clips,), self.noise_std)),
        }
        return {n: torch.where(happens, value, REST[n]) for n, (happens, value) in steps.items()}

    def _shade(self, frames: Tensor, sampled: Sampled, generator: torch.Generator) -> Clips:
        if len(chosen := _changed(sampled, ("contrast", "intensity"))):
            here = chosen.to(frames.device)
            factors = (per_clip(sampled[n][chosen], frames) for n in ("contrast", "intensity"))
            frames[here] = _along_line(frames[here], *factors)
        if len(chosen := _changed(sampled, ("sigma",))):
            here = chosen.to(frames.device)
            frames[here] = _blur(frames[here], sampled["sigma"][chosen])
        if len(chosen := _changed(sampled, ("noise_std",))):
            here = chosen.to(frames.device)
            size = (len(chosen), *frames.shape[1:])
            noise = torch.randn(size, generator=generator, dtype=torch.float32).to(frames)
            frames[here] += noise.mul_(self.noise_std)
        return frames.clamp_(0, 1)


def _changed(sampled: Sampled, names: tuple[str, ...]) -> Int64[Tensor, "b"]:
    return torch.stack([sampled[name] != REST[name] for name in names]).any(dim=0).nonzero()[:, 0]


def _grid(sampled: Sampled, chosen: Int64[Tensor, "b"], frames: Tensor) -> Float[Tensor, "b H W 2"]:
    """Where each output pixel is read, in the units of `grid_sample` (-1 to 1 over each axis).

    The inverse of out = s [[cos a, sin(a + h)], [-sin a, cos(a + h)]] mirror(in) + shift with scale
    s, angle a and shear h, in pixels from the centre, as in skimage's AffineTransform of its time.
    """
    height, width = frames.shape[2:]
    mirror, scale, angle, shear, right, down = (sampled[name][chosen, None] for name in GEOMETRY)
    x = (2 * torch.arange(width) + 1) / width - 1 - 2 * right
    y = (2 * torch.arange(height) + 1) / height - 1 - 2 * down
    over, up = mirror / (scale * shear.cos()), 1 / (scale * shear.cos())
    columns = [over * (angle + shear).cos() * x, up * angle.sin() * (width / height) * x]
    rows = [-over * (angle + shear).sin() * (height / width) * y, up * angle.cos() * y]
    of_columns, of_rows = (torch.stack(terms, dim=-1).to(frames) for terms in (columns, rows))
    return of_columns[:, None] + of_rows[:, :, None]


def _along_line(clips: Tensor, contrast: Tensor, intensity: Tensor) -> Tensor:
    """Steps 3 and 4: two rising lines, each clipped to the range of its input, as one."""
    low, high = clips.amin(dim=(1, 2, 3), keepdim=True), clips.amax(dim=(1, 2, 3), keepdim=True)
    middle = (low + high) / 2
    low = torch.maximum(low, middle + contrast * (low - middle))
    high = torch.minimum(high, middle + contrast * (high - middle))
    floor, ceiling = (torch.clamp(intensity * end, low, high) for end in (low, high))
    line = torch.addcmul(intensity * (1 - contrast) * middle, clips, intensity * contrast)
    return line.clamp_(floor, ceiling)


def _blur(clips: Tensor, sigma: Float[Tensor, "b"]) -> Tensor:
    """A Gaussian along rows, then columns, the image mirrored at its edges.

    Sums of shifted images, not a convolution, which a GPU may round to fewer digits.
    """
    reach = (TRUNCATE * sigma[:, None] + 0.5).floor()
    radius = max(1, int(reach.max()))
    taps = torch.arange(-radius, radius + 1)
    weights = torch.exp(-0.5 * (taps / sigma[:, None]) ** 2) * (taps.abs() <= reach)
    weights = (weights / weights.sum(dim=1, keepdim=True)).to(clips)
    for axis, size in ((2, clips.shape[2]), (3, clips.shape[3])):
        padded = _mirrored(clips, axis, radius)
        clips = torch.zeros_like(clips)
        for tap, weight in enumerate(weights.unbind(1)):
            clips.addcmul_(padded.narrow(axis, tap, size), weight[:, None, None, None])
    return clips


def _mirrored(clips: Tensor, axis: int, radius: int) -> Tensor:
    """With `radius` more pixels at both ends of an axis, the edge repeated: b a | a b c."""
    size = clips.shape[axis]
    beyond = torch.cat([torch.arange(-radius, 0), torch.arange(size, size + radius)]) % (2 * size)
    inside = torch.minimum(beyond, 2 * size - 1 - beyond).to(clips.device)
    before, after = clips.index_select(axis, inside).split(radius, axis)
    return torch.cat([before, clips, after], dim=axis)
