"""Bring frames upright as the display matrix of their file requests.

The matrix (a b u, c d v, x y w), in 16.16 fixed point, shows the stored pixel (x, y) at
(a x + c y, b x + d y): ISO/IEC 14496-12, 8.3.2. FFmpeg gives it for the track header of MP4, the
projection of Matroska, the SEI message of H.264 and HEVC, and Exif.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from av.sidedata.sidedata import Type
from jaxtyping import UInt8

from lus_ray.errors import DecodeError

TOLERANCE = 1e-3
"""Of an entry, relative to the largest: angles in SEI messages are rounded."""

DESCRIPTIONS = {
    (False, 1, 1): "",
    (False, -1, 1): "mirrored left to right",
    (False, 1, -1): "mirrored top to bottom",
    (False, -1, -1): "rotated by 180 degrees",
    (True, -1, 1): "rotated by 90 degrees clockwise",
    (True, 1, -1): "rotated by 270 degrees clockwise",
    (True, 1, 1): "mirrored left to right and rotated by 270 degrees clockwise",
    (True, -1, -1): "mirrored left to right and rotated by 90 degrees clockwise",
}


@dataclass(frozen=True)
class Orientation:
    """One of the eight: swap rows and columns, then mirror where the step is -1."""

    is_transposed: bool = False
    column_step: int = 1
    row_step: int = 1

    @property
    def description(self) -> str:
        """What is done to the stored pixels; empty for nothing."""
        return DESCRIPTIONS[self.is_transposed, self.column_step, self.row_step]

    def apply(self, pixels: UInt8[np.ndarray, "_ _"]) -> UInt8[np.ndarray, "_ _"]:
        """A view of the pixels, upright."""
        if self.is_transposed:
            pixels = pixels.T
        return pixels[:: self.row_step, :: self.column_step]


def _name_unknown_type(cls: Any, value: int) -> Any:
    member = object.__new__(cls)
    member._name_, member._value_ = f"TYPE_{value}", value
    return member


# FFmpeg has more types of side data than PyAV 18 names, Exif among them; PyAV then raises.
side_data_type: Any = Type
side_data_type._missing_ = classmethod(_name_unknown_type)


def matrix_of(frame: Any) -> bytes | None:
    """The display matrix of a frame, nine native 32-bit integers; None where it has none."""
    data = frame.side_data.get(Type.DISPLAYMATRIX)
    return None if data is None else bytes(data)


def parse_matrix(matrix: bytes) -> Orientation:
    """The orientation that a display matrix requests; its translation is ignored.

    Raises:
        DecodeError: it rotates by another angle, stretches or shears.
    """
    a, b, u, c, d, v, _, _, w = np.frombuffer(matrix, np.int32, 9).tolist()
    scale = max(map(abs, (a, b, c, d)))
    if not scale:  # some writers leave the whole matrix empty
        return Orientation()
    signs = [round(entry / scale) for entry in (a, b, c, d)]
    is_rounded = all(
        abs(entry / scale - sign) <= TOLERANCE
        for entry, sign in zip((a, b, c, d), signs, strict=True)
    )
    is_transposed = not signs[0]
    step_x, step_y = signs[0] + signs[2], signs[1] + signs[3]
    is_permuted = (signs[3] == 0) == is_transposed and abs(step_x) == abs(step_y) == 1
    if u or v or w < 0 or not is_rounded or not is_permuted:
        entries = ", ".join(f"{entry / 2**16:g}" for entry in (a, b, u, c, d, v))
        raise DecodeError(
            f"its display matrix ({entries}) is neither a quarter turn nor a mirror; export it "
            "upright",
            "refused",
        )
    return Orientation(is_transposed, step_x, step_y)
