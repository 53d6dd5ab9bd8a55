"""Augmentation: one random affine map and one random grey scale per clip, in one fused pass.

Letters: B clips, T frames, H rows, W columns.
Source: Gare et al. 2022, section 3.4: horizontal flip, intensity x 0.8-1.1, scale +-20 %,
rotation +-15 degrees, translation +-5 %. One draw per clip, alike for all of its frames.
Why one pass: flip, scale, rotation and translation are one 2 x 3 matrix, so that each pixel is
interpolated once, and the interpolation weights are shared by the frames of a clip.
Why numbers come from a CPU generator: the same seed then gives the same picture on any device.
"""

from dataclasses import dataclass
from math import pi

import torch
from jaxtyping import Float, Integer
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from lus_ray.errors import ArmError


@dataclass(frozen=True)
class Augment:
    """The ranges that are drawn from, uniformly; the defaults are those of the paper.

    `flip` is the probability of a mirrored clip (left and right exchanged).
    `intensity` is the range of the factor on grey values, `gamma` of the exponent before it.
    `scale` 0.2 enlarges by 0.8-1.2; `rotate_deg` turns by up to so many degrees either way.
    `translate` moves by up to this fraction of the height and of the width.
    `noise_std` adds Gaussian noise to each pixel of each frame, in units of the full grey range.

    Raises:
        ArmError: a range is empty or makes no picture.
    """

    flip: float = 0.5
    intensity: tuple[float, float] = (0.8, 1.1)
    scale: float = 0.2
    rotate_deg: float = 15.0
    translate: float = 0.05
    gamma: tuple[float, float] = (1.0, 1.0)
    noise_std: float = 0.0

    def __post_init__(self) -> None:
        sound = {
            "flip": 0 <= self.flip <= 1,
            "intensity": 0 <= self.intensity[0] <= self.intensity[1],
            "scale": 0 <= self.scale < 1,
            "rotate_deg": 0 <= self.rotate_deg <= 180,
            "translate": 0 <= self.translate <= 1,
            "gamma": 0 < self.gamma[0] <= self.gamma[1],
            "noise_std": self.noise_std >= 0,
        }
        for name, holds in sound.items():
            if not holds:
                raise ArmError(
                    f"Augment: {name} is {getattr(self, name)}; see its range in the help"
                )

    def __call__(
        self, frames: Float[Tensor, "B T H W"], generator: torch.Generator
    ) -> Float[Tensor, "B T H W"]:
        """Frames in [0, 1], changed, on the device where they are; outside of the picture is 0."""
        drawn = self.draw(len(frames), generator)
        moved = grid_sample(frames, _grid(drawn, frames), align_corners=False)
        return self._shade(moved, drawn, generator)

    def with_masks(
        self,
        frames: Float[Tensor, "B T H W"],
        masks: Integer[Tensor, "B T H W"],
        generator: torch.Generator,
    ) -> tuple[Float[Tensor, "B T H W"], Integer[Tensor, "B T H W"]]:
        """Frames as in a plain call, and class ids moved with them: nearest, 0 outside."""
        drawn = self.draw(len(frames), generator)
        grid = _grid(drawn, frames)
        moved = grid_sample(frames, grid, align_corners=False)
        ids = grid_sample(masks.to(frames.dtype), grid, mode="nearest", align_corners=False)
        return self._shade(moved, drawn, generator), ids.to(masks.dtype)

    def draw(self, num_clips: int, generator: torch.Generator) -> dict[str, Float[Tensor, "B"]]:
        """One draw per clip, on the CPU: `mirror` (+1 or -1), `scale` (factor), `angle` (radians,
        counter-clockwise as seen), `right`, `down` (fractions of the size), `intensity`, `gamma`.
        """
        unit = torch.rand(num_clips, 7, generator=generator, dtype=torch.float32).unbind(1)
        return {
            "mirror": torch.where(unit[0] < self.flip, -1.0, 1.0),
            "scale": _between(1 - self.scale, 1 + self.scale, unit[1]),
            "angle": _between(-self.rotate_deg, self.rotate_deg, unit[2]) * (pi / 180),
            "right": _between(-self.translate, self.translate, unit[3]),
            "down": _between(-self.translate, self.translate, unit[4]),
            "intensity": _between(*self.intensity, unit[5]),
            "gamma": _between(*self.gamma, unit[6]),
        }

    def _shade(
        self, frames: Tensor, drawn: dict[str, Tensor], generator: torch.Generator
    ) -> Float[Tensor, "B T H W"]:
        if self.gamma != (1.0, 1.0):
            frames = frames.clamp_(min=0).pow_(_per_clip(drawn["gamma"], frames))
        frames = frames.mul_(_per_clip(drawn["intensity"], frames))
        if self.noise_std > 0:
            noise = torch.randn(frames.shape, generator=generator, dtype=torch.float32)
            frames = frames.add_(noise.to(frames), alpha=self.noise_std)
        return frames.clamp_(0, 1)


def _grid(drawn: dict[str, Tensor], frames: Tensor) -> Float[Tensor, "B H W 2"]:
    """Where each output pixel is read, in the units of `grid_sample` (-1 to 1 over each axis).

    In pixels from the centre, out = rotate(scale * mirror(in)) + shift. What is needed is the
    inverse; the factor H / W of the off-diagonal entries keeps a rotation rigid on a picture
    that is not square, because a unit of the grid is half a width in x and half a height in y.
    """
    height, width = frames.shape[2:]
    cos = drawn["angle"].cos() / drawn["scale"]
    sin = drawn["angle"].sin() / drawn["scale"]
    inverse = torch.stack(
        [
            torch.stack([drawn["mirror"] * cos, -drawn["mirror"] * sin * (height / width)], dim=-1),
            torch.stack([sin * (width / height), cos], dim=-1),
        ],
        dim=-2,
    )
    shift = 2 * torch.stack([drawn["right"], drawn["down"]], dim=-1)[..., None]
    theta = torch.cat([inverse, -inverse @ shift], dim=-1).to(frames.device)
    return affine_grid(theta, list(frames.shape), align_corners=False).to(frames.dtype)


def _between(low: float, high: float, unit: Tensor) -> Tensor:
    return low + (high - low) * unit


def _per_clip(values: Tensor, frames: Tensor) -> Tensor:
    return values.to(frames)[:, None, None, None]
