"""The probe of the phantom: beam geometry, speckle, and the image made of echoes.

Everything is computed in beam space, D depth samples by B beams, and converted to H x W pixels at
the end, as a scanner does: a shadow or a B-line is one column, in a fan as in a rectangle.
Echoes are amplitudes; 1 saturates.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Complex64, Float, Float32, Int, UInt8
from scipy.ndimage import gaussian_filter1d

Beams = Float32[np.ndarray, "B"]
Samples = Float32[np.ndarray, "D B"]
Classes = UInt8[np.ndarray, "D B"]
Hits = Bool[np.ndarray, "D B"]

SOFTNESS = 0.5
"""Exponent on the envelope of fully developed speckle: 1 is a single look, less is compounding."""


@dataclass(frozen=True)
class Probe:
    """The beams of one image and the map from them to its pixels.

    `depth_mm` (D,) along a beam from the skin; `angle` (B,) to the vertical, radians; `face_mm`
    (B,) where beams leave the face, 0 in the middle; `radius_mm` of the face, 0 if it is flat.
    `corners`, `weights` (4, P): the four samples around each of the P pixels in view; `nearest`
    (P,) the closest of them.
    """

    depth_mm: Float32[np.ndarray, "D"]
    angle: Beams
    face_mm: Beams
    radius_mm: float
    inside: Bool[np.ndarray, "H W"]
    corners: Int[np.ndarray, "4 P"]
    weights: Float32[np.ndarray, "4 P"]
    nearest: Int[np.ndarray, "P"]
    mm_per_pixel: float

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.depth_mm), len(self.angle)

    def lateral_mm(self, depth_mm: float) -> Beams:
        """Lateral position of the beams at a depth, along an arc parallel to the face."""
        return self.face_mm + np.float32(depth_mm) * self.angle

    def render_image(self, level: Float32[np.ndarray, "D B"]) -> UInt8[np.ndarray, "H W"]:
        """Grey 0-255 from samples 0-1, black outside the fan or rectangle."""
        values = np.zeros(self.corners.shape[1], np.float32)
        for corner, weight in zip(self.corners, self.weights, strict=True):
            values += level.ravel().take(corner) * weight
        pixels = np.zeros(self.inside.shape, np.uint8)
        pixels[self.inside] = values * 255
        return pixels

    def render_labels(self, classes: Classes) -> UInt8[np.ndarray, "H W"]:
        """Class ids of the nearest samples, 0 outside."""
        pixels = np.zeros(self.inside.shape, np.uint8)
        pixels[self.inside] = classes.ravel().take(self.nearest)
        return pixels


def make_convex_probe(
    size: int, *, height_mm: float, radius_mm: float, half_angle: float, cap_mm: float
) -> Probe:
    """A fan: beams leave a face of `radius_mm` at angles up to `half_angle` (radians).

    The lowest point of the face lies `cap_mm` below the upper edge of the image; the far arc ends
    just above the lower edge. Sides wider than the image are cut.
    """
    x, y = _pixels_mm(size, height_mm)
    y = y + radius_mm - cap_mm
    angle = np.linspace(-half_angle, half_angle, _num_beams(size))
    return _probe(
        depth=np.hypot(x, y) - radius_mm,
        across=np.arctan2(x, y) / half_angle,
        far_mm=0.985 * (height_mm - cap_mm),
        angle=angle,
        face_mm=radius_mm * angle,
        radius_mm=radius_mm,
        mm_per_pixel=height_mm / size,
    )


def make_linear_probe(size: int, *, height_mm: float, aperture_mm: float) -> Probe:
    """A rectangle: parallel beams over `aperture_mm`, cut to the width of the image."""
    x, y = _pixels_mm(size, height_mm)
    half = min(aperture_mm, height_mm) / 2
    num_beams = _num_beams(size)
    return _probe(
        depth=y,
        across=x / half,
        far_mm=height_mm,
        angle=np.zeros(num_beams),
        face_mm=np.linspace(-half, half, num_beams),
        radius_mm=0.0,
        mm_per_pixel=height_mm / size,
    )


@dataclass
class Speckle:
    """Fully developed speckle, softened as by compounding; `grain` in samples along and across.

    A share `steady` of its power stays with the tissue, the rest is new in every frame. Below the
    pleura the steady part glides with the lung, above it stays: this shows lung sliding.
    """

    shape: tuple[int, int]
    grain: tuple[float, float]
    steady: float
    rng: np.random.Generator
    softness: float = SOFTNESS

    def __post_init__(self) -> None:
        num_depths, num_beams = self.shape
        self.glide = num_beams // 8
        self.tissue = self._field((num_depths, num_beams + 2 * self.glide))

    def sample_frame(self, lung: Hits, shift: int) -> Samples:
        """Factor around 1 for each echo; the lung is shifted by `shift` beams."""
        num_beams = self.shape[1]
        still = self.tissue[:, self.glide : self.glide + num_beams]
        start = self.glide - int(np.clip(shift, -self.glide, self.glide))
        moved = self.tissue[:, start : start + num_beams]
        old, new = np.float32(np.sqrt(self.steady)), np.float32(np.sqrt(1 - self.steady))
        field = np.where(lung, moved, still) * old + self._field(self.shape) * new
        power = field.real**2 + field.imag**2
        return (power + np.float32(0.02)) ** np.float32(self.softness / 2)

    def _field(self, shape: tuple[int, int]) -> Complex64[np.ndarray, "D B"]:
        noise = self.rng.standard_normal((2, *shape), dtype=np.float32)
        for axis, size in zip((1, 2), self.grain, strict=True):
            noise = gaussian_filter1d(noise, size, axis=axis, mode="wrap", truncate=2.5)
        noise *= np.float32(np.sqrt(0.5) / noise.std())
        return noise[0] + 1j * noise[1]


def _num_beams(size: int) -> int:
    return max(48, round(0.8 * size))


def _pixels_mm(
    size: int, height_mm: float
) -> tuple[Float[np.ndarray, "1 W"], Float[np.ndarray, "H 1"]]:
    centres = (np.arange(size) + 0.5) * height_mm / size
    return (centres - height_mm / 2)[None, :], centres[:, None]


def _probe(
    *,
    depth: Float[np.ndarray, "#H #W"],
    across: Float[np.ndarray, "#H #W"],
    far_mm: float,
    angle: Float[np.ndarray, "B"],
    face_mm: Float[np.ndarray, "B"],
    radius_mm: float,
    mm_per_pixel: float,
) -> Probe:
    num_beams = len(angle)
    num_depths = max(48, round(far_mm / mm_per_pixel))
    depth, across = np.broadcast_arrays(depth, across)
    inside = (depth >= 0) & (depth < far_mm) & (np.abs(across) <= 1)
    row = depth[inside] / far_mm * (num_depths - 1)
    column = (across[inside] + 1) / 2 * (num_beams - 1)
    top = np.minimum(row.astype(np.int64), num_depths - 2)
    left = np.minimum(column.astype(np.int64), num_beams - 2)
    down, right = row - top, column - left
    first = top * num_beams + left
    return Probe(
        depth_mm=np.linspace(0, far_mm, num_depths, dtype=np.float32),
        angle=angle.astype(np.float32),
        face_mm=face_mm.astype(np.float32),
        radius_mm=radius_mm,
        inside=inside,
        corners=np.stack([first, first + 1, first + num_beams, first + num_beams + 1]),
        weights=np.stack(
            [(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right]
        ).astype(np.float32),
        nearest=np.rint(row).astype(np.int64) * num_beams + np.rint(column).astype(np.int64),
        mm_per_pixel=mm_per_pixel,
    )
