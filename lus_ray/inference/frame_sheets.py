"""Frames of a response below one another in one picture, and frame coordinates within a view.

Letters: N frames, M of them shown, H rows, W columns, h and w after resizing.
Why one picture: a page loads it once and draws any frame without another request.
"""

import base64
import io
from typing import Any

import numpy as np
from jaxtyping import Float, Int64, Shaped, UInt8
from PIL import Image

from lus_ray.data.transforms.view import View
from lus_ray.inference.schema import PreviewSheet

MAX_FRAMES = 96
"""Browsers draw pictures of at most 32,767 rows."""

PREVIEW_SIDE = 320
"""Longer side of a preview frame in pixels."""

JPEG_QUALITY = 80


def frame_step(num_frames: int, limit: int = MAX_FRAMES) -> int:
    """The smallest n for which every n-th frame makes at most `limit` frames."""
    return max(1, -(-num_frames // limit))


def frame_slice(num_frames: int, limit: int = MAX_FRAMES) -> slice:
    return slice(0, num_frames, frame_step(num_frames, limit))


def encode_png(frames: UInt8[np.ndarray, "M h w"]) -> str:
    """A data URL of a lossless 8-bit grey PNG."""
    return _data_url(frames, "png", optimize=False, compress_level=6)


def decode_sheet(url: str, num_frames: int) -> UInt8[np.ndarray, "M h w"]:
    with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as picture:
        pixels = np.asarray(picture)
    return pixels.reshape(num_frames, -1, pixels.shape[1])


def make_preview(frames: UInt8[np.ndarray, "N H W"]) -> PreviewSheet:
    """Every n-th frame, small enough to play in a page."""
    scale = min(1.0, PREVIEW_SIDE / max(frames.shape[1:]))
    height, width = (max(1, round(side * scale)) for side in frames.shape[1:])
    small = View(height=height, width=width).resize(frames[frame_slice(len(frames))])
    sheet = _data_url(small, "jpeg", quality=JPEG_QUALITY)
    return PreviewSheet(height, width, len(small), frame_step(len(frames)), sheet)


class FrameWindow:
    """Where a frame of H x W lies in a view that may have padded it.

    The cropped picture has as many pixels as the frame covers in the view, rounded.
    """

    def __init__(self, view: View, height: int, width: int) -> None:
        (top, bottom), (left, right) = view.padding(height, width)
        self.rows = _pixel_centres(view.height, height, top, bottom)
        self.columns = _pixel_centres(view.width, width, left, right)
        padded = np.array([left + width + right, top + height + bottom])
        self.scale = padded / [width, height]
        self.offset = np.array([left, top]) / [width, height]

    def crop(self, pictures: Shaped[np.ndarray, "*n H W"]) -> Shaped[np.ndarray, "*n h w"]:
        return pictures[..., self.rows[:, None], self.columns]

    def to_frame(self, points: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 2"]:
        """Points (x, y) in fractions of the view as fractions of the frame."""
        return points * self.scale - self.offset


def _pixel_centres(resized: int, side: int, before: int, after: int) -> Int64[np.ndarray, "h"]:
    """Pixels of a resized, padded side at the centres of the pixels of the side alone."""
    padded = before + side + after
    kept = max(1, round(resized * side / padded))
    centres = (before + (np.arange(kept) + 0.5) * side / kept) * resized / padded
    return np.minimum(centres.astype(np.int64), resized - 1)


def _data_url(frames: UInt8[np.ndarray, "M h w"], kind: str, **options: Any) -> str:
    packed = io.BytesIO()
    column = np.ascontiguousarray(frames).reshape(-1, frames.shape[2])
    Image.fromarray(column).save(packed, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(packed.getvalue()).decode()}"
