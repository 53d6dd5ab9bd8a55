"""Pictures of an answer: frames below one another in one file, and where a frame lies in a view.

Letters: N frames, M of them that are shown, H rows, W columns, h and w after resizing.
Why one picture: a page loads it once and draws any frame of it without asking again.
"""

import base64
import io
from typing import Any

import numpy as np
from jaxtyping import Float, Int64, Shaped, UInt8
from PIL import Image

from lus_ray.data.transforms.view import View

MOST_FRAMES = 96
"""Frames in one picture: browsers draw pictures of no more than 32,767 rows."""

LONGEST = 320
"""Longer side of a frame of the preview in pixels."""

JPEG_QUALITY = 80


def every(num_frames: int, most: int = MOST_FRAMES) -> int:
    """The n of "every n-th frame" that keeps at most so many."""
    return max(1, -(-num_frames // most))


def spaced(num_frames: int, most: int = MOST_FRAMES) -> slice:
    """The first frame and every n-th after it."""
    return slice(0, num_frames, every(num_frames, most))


def png(pictures: UInt8[np.ndarray, "M h w"]) -> str:
    """A data address of an 8-bit grey PNG with the pictures below one another, without loss."""
    return _data_address(pictures, "png", optimize=False, compress_level=6)


def jpeg(pictures: UInt8[np.ndarray, "M h w"]) -> str:
    """A data address of a grey JPEG with the pictures below one another."""
    return _data_address(pictures, "jpeg", quality=JPEG_QUALITY)


def preview(frames: UInt8[np.ndarray, "N H W"]) -> dict[str, Any]:
    """`preview` of the answer: every n-th frame, made small enough to play in a page."""
    shown = frames[spaced(len(frames))]
    height, width = frames.shape[1:]
    scale = min(1.0, LONGEST / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    small = View(height=size[0], width=size[1]).resize(shown)
    return {
        "height": size[0],
        "width": size[1],
        "num_frames": len(small),
        "every": every(len(frames)),
        "sprite": jpeg(small),
    }


def read(address: str, num_frames: int) -> UInt8[np.ndarray, "M h w"]:
    """The pictures that `png` wrote."""
    packed = base64.b64decode(address.partition(",")[2])
    with Image.open(io.BytesIO(packed)) as picture:
        pixels = np.asarray(picture)
    return pixels.reshape(num_frames, -1, pixels.shape[1])


class Window:
    """Where a frame of H x W lies in the picture of a view that may have padded it.

    The picture that is cut out has as many pixels as the frame has there, rounded.
    """

    def __init__(self, view: View, height: int, width: int) -> None:
        padded = view.padding(height, width)
        (top, bottom), (left, right) = padded
        self.rows = _centres(view.height, height, top, bottom)
        self.columns = _centres(view.width, width, left, right)
        whole = np.array([left + width + right, top + height + bottom])
        self.scale = whole / [width, height]
        self.offset = np.array([left, top]) / [width, height]

    def cut(self, pictures: Shaped[np.ndarray, "*n H W"]) -> Shaped[np.ndarray, "*n h w"]:
        """The part that shows the frame; each pixel is that of the picture at its centre."""
        return pictures[..., self.rows[:, None], self.columns]

    def shares(self, points: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 2"]:
        """Points (x, y) in shares of the picture as shares of the frame."""
        return points * self.scale - self.offset


def _centres(resized: int, side: int, before: int, after: int) -> Int64[np.ndarray, "h"]:
    """Pixels of a resized and padded side at the centres of those of the side alone."""
    whole = before + side + after
    kept = max(1, round(resized * side / whole))
    centres = (before + (np.arange(kept) + 0.5) * side / kept) * resized / whole
    return np.minimum(centres.astype(np.int64), resized - 1)


def _data_address(pictures: UInt8[np.ndarray, "M h w"], kind: str, **options: Any) -> str:
    packed = io.BytesIO()
    column = np.ascontiguousarray(pictures).reshape(-1, pictures.shape[2])
    Image.fromarray(column).save(packed, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(packed.getvalue()).decode()}"
