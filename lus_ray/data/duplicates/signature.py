"""Signatures of clips: a few small frames, by which copies are found (`features`, `matching`).

Letters: T frames of the clip, K frames of a signature, H rows, W columns.
Why a signature has pixels and no patches: the comparison can improve without a new ingest.
"""

import struct
import zlib

import numpy as np
from jaxtyping import Int64, UInt8
from PIL import Image
from PIL.Image import Resampling
from scipy import ndimage

SIDE = 128
"""Longer side of a signature's frames in pixels."""
SHORTEST = 20
"""Least pixels of the other side."""
NUM_FRAMES = 8
NUM_INSPECTED = 16
"""Frames over which a pixel must change to count."""
DARK = 0.1
"""Below this share of the bright grey a pixel shows noise of the scanner."""
HEADER = struct.Struct("<BBHH")
VERSION = 1


def compute_signature(frames: UInt8[np.ndarray, "T H W"]) -> bytes:
    """Eight small frames of a clip as compressed bytes, some 20-60 kB; 0 marks invalid pixels.

    Valid pixels change and are not dark; in a still image all that are not dark.
    """
    inspected = frames[_spread(len(frames), NUM_INSPECTED)]
    scale = SIDE / max(frames.shape[1:])
    height, width = (max(SHORTEST, round(length * scale)) for length in frames.shape[1:])
    images = (Image.fromarray(frame) for frame in inspected)
    resized = (image.resize((width, height), Resampling.BILINEAR) for image in images)
    small = np.stack([np.asarray(image) for image in resized])
    kept = np.maximum(small[_spread(len(small), NUM_FRAMES)] >> 2, 1)
    mean = ndimage.uniform_filter(small.mean(0, dtype=np.float32), 5)
    changes = ndimage.uniform_filter((small.std(0) > 1).astype(np.float32), 5) > 0.5
    if changes.mean() > 0.05:
        kept[:, ~changes] = 0
    kept[:, mean < DARK * np.percentile(mean, 99)] = 0
    return HEADER.pack(VERSION, *kept.shape) + zlib.compress(kept.tobytes(), 1)


def unpack_signature(signature: bytes) -> UInt8[np.ndarray, "K h w"]:
    """The small frames of a signature; an empty one for a signature of another version.

    Raises:
        ValueError: it is damaged.
    """
    try:
        version, *shape = HEADER.unpack_from(signature)
        if version != VERSION:
            return np.zeros((1, 0, 0), np.uint8)
        pixels = zlib.decompressobj().decompress(signature[HEADER.size :], SIDE * SIDE * NUM_FRAMES)
        small = np.frombuffer(pixels, np.uint8).reshape(shape)
    except (struct.error, zlib.error) as error:
        raise ValueError(str(error)) from error
    if not small.size or max(shape[1:]) > SIDE:
        raise ValueError(f"frames of {shape[1]} x {shape[2]}")
    return small


def _spread(num_available: int, num_wanted: int) -> Int64[np.ndarray, "K"]:
    num = min(num_available, num_wanted)
    return ((np.arange(num) + 0.5) * num_available / num).astype(np.int64)
