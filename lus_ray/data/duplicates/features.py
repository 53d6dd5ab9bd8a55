"""Corners of a signature and the patches around them, which a copy would share.

    features  local contrast of the small frames, and corners in it
    patches   a cosine transform of the surroundings of each corner

Letters: K frames of a signature, H rows, W columns, N corners, S scales, D numbers per patch.
Positions are (frame, row, column) in pixels of the signature.
Why filters are products of matrices: frames are small and all of one size, so that these take a
quarter of the time of a loop over pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int64, Integer
from numpy.lib.stride_tricks import sliding_window_view

from lus_ray.data.duplicates.signature import SIDE, unpack_signature

NOISE = 6.0
"""Deviation in grey values below which contrast fades."""
MOVES = 12.0
"""Deviation over time in grey values from which a pixel counts fully: near-field rings and other
drawings of a scanner hardly move."""
NUM_CORNERS = 40
"""Corners kept per frame, the strongest ones."""
PEAK = 3
"""A corner is the strongest pixel within so many rows and columns."""
REACH = 10
"""Half the side of a patch in pixels."""
SCALES = (0.80, 0.89, 1.0, 1.12, 1.25)
"""Scales tried: cropping a fifth of the side enlarges the rest by 1.25."""
MARGIN = 12
"""Half the side of the surroundings that hold a patch of the smallest scale."""
NUM_PATTERNS = 6
"""Cosines along each side of a patch; the constant is left out."""
NUM_NUMBERS = NUM_PATTERNS**2 - 1
MIRRORED = np.array([(-1.0) ** (n % NUM_PATTERNS) for n in range(1, NUM_NUMBERS + 1)], np.float32)
"""A mirrored patch has the same cosine transform with the odd columns negated."""
BAND = 16
"""Pixels of a line that one product of a filter makes."""

Bands = tuple[tuple[slice, slice, np.ndarray], ...]


@dataclass(frozen=True)
class Features:
    """Local contrast of a signature, where it is valid, and corners in it."""

    contrast: Float32[np.ndarray, "K H W"]
    valid: Bool[np.ndarray, "H W"]
    corners: Int64[np.ndarray, "N 3"]


def extract_features(
    signature: bytes, corners: Integer[np.ndarray, "N 3"] | None = None
) -> Features:
    """Local contrast and corners of a signature; none for a signature of another version.

    `corners` that were found before are not searched again.
    """
    small = unpack_signature(signature)
    frames = np.zeros((len(small), SIDE, SIDE), np.float32)
    frames[:, : small.shape[1], : small.shape[2]] = small
    valid = np.asarray((frames > 0).any(axis=0))
    frames *= 4
    contrast = _local_contrast(frames, valid.astype(np.float32)) * _motion(frames)
    if corners is None:
        corners = _find_corners(contrast, valid)
    return Features(contrast, valid, corners.astype(np.int64))


def describe_patches(
    clip: Features, scales: tuple[float, ...] = (1.0,)
) -> Float32[np.ndarray, "S N D"]:
    """Unit vectors of the patches around the corners, after scaling by each of `scales`.

    Outside of the frame the contrast is 0.
    """
    frame, row, column = clip.corners.T
    padded = np.pad(clip.contrast, ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN)))
    side = 2 * MARGIN + 1
    around = sliding_window_view(padded, (side, side), axis=(1, 2))[frame, row, column]
    patterns = np.concatenate([_patterns(scale) for scale in scales])
    across = around.reshape(-1, side) @ patterns.T
    columns = across.reshape(len(frame), side, len(patterns)).transpose(0, 2, 1)
    shape = (len(frame), len(scales), NUM_PATTERNS, len(scales), NUM_PATTERNS)
    both = (columns.reshape(-1, side) @ patterns.T).reshape(shape)
    low = np.stack([both[:, k, :, k].transpose(0, 2, 1) for k in range(len(scales))])
    vectors = low.reshape(len(scales), len(frame), NUM_PATTERNS**2)[..., 1:]
    return np.asarray(vectors / (np.linalg.norm(vectors, axis=-1, keepdims=True) + 1e-6))


@cache
def _patterns(scale: float) -> Float32[np.ndarray, "patterns side"]:
    """Cosines of a patch of 12 samples a side, which are interpolated between pixels."""
    from scipy.fft import dct

    steps = (np.arange(12) - 5.5) * (2 * REACH / 12) / scale + MARGIN
    pixels = np.arange(2 * MARGIN + 1)
    sampled = np.clip(1 - np.abs(steps[:, None] - pixels), 0, 1)
    return np.asarray(dct(np.eye(12), axis=0, norm="ortho")[:NUM_PATTERNS] @ sampled, np.float32)


def _local_contrast(
    frames: Float32[np.ndarray, "K H W"], weight: Float32[np.ndarray, "H W"]
) -> Float32[np.ndarray, "K H W"]:
    """Grey minus its local mean over its local deviation, of valid pixels: independent of gain."""
    wide, narrow = _gaussian(4, truncate=3), _gaussian(0.7, truncate=3)
    total = _filter(weight[None], wide) + 1e-3
    rest = (frames - _filter(frames * weight, wide) / total) * weight
    deviation = np.sqrt(_filter(rest * rest, wide) / total)
    return _filter(rest / (deviation + NOISE), narrow) * weight


def _motion(frames: Float32[np.ndarray, "K H W"]) -> Float32[np.ndarray, "H W"]:
    """Weight of a pixel by its change over time, 0 to 1; 1 where nothing changes."""
    change = _filter(frames.std(axis=0)[None], _gaussian(1.5))[0]
    if np.percentile(change, 99) < 1:
        return np.ones_like(change)
    return np.clip(change / MOVES, 0, 1)


def _find_corners(
    contrast: Float32[np.ndarray, "K H W"], valid: Bool[np.ndarray, "H W"]
) -> Int64[np.ndarray, "N 3"]:
    """The strongest corners of each frame (Noble's measure) with a valid patch."""
    smooth, slope, wide = _gaussian(1), _gaussian(1, order=1), _gaussian(2)
    down, across = _filter(contrast, slope, smooth), _filter(contrast, smooth, slope)
    dd, aa, da = (_filter(g, wide) for g in (down * down, across * across, down * across))
    counts = _filter(valid[None].astype(np.float32), _mean(2 * REACH + 1))
    strength = np.where(counts > 0.8, (dd * aa - da * da) / (dd + aa + 1e-6), 0)
    peaks = (strength == _local_maximum(strength)) & (strength > 1e-4)
    corners = np.argwhere(peaks)
    corners = corners[np.lexsort((-strength[peaks], corners[:, 0]))]
    _, first, num = np.unique(corners[:, 0], return_index=True, return_counts=True)
    return corners[np.arange(len(corners)) - np.repeat(first, num) < NUM_CORNERS]


def _local_maximum(frames: Float32[np.ndarray, "K H W"]) -> Float32[np.ndarray, "K H W"]:
    for axis in (1, 2):
        width = [(0, 0)] * 3
        width[axis] = (PEAK, PEAK)
        windows = np.pad(frames, width, constant_values=-np.inf)
        for step in (1, 2, 2 * PEAK - 3):  # maxima of 2, 4, and 2 * PEAK + 1 pixels
            ahead, behind = [slice(None)] * 3, [slice(None)] * 3
            ahead[axis], behind[axis] = slice(step, None), slice(None, -step)
            windows = np.maximum(windows[tuple(ahead)], windows[tuple(behind)])
        frames = windows
    return frames


def _filter(
    frames: Float32[np.ndarray, "K H W"], down: Bands, across: Bands | None = None
) -> Float32[np.ndarray, "K H W"]:
    """The frames after a filter along columns and one along rows, the same if one is given."""
    filtered, result = np.empty_like(frames), np.empty_like(frames)
    lines, filtered_lines = frames.reshape(-1, SIDE), filtered.reshape(-1, SIDE)
    for made, used, weights in down if across is None else across:
        np.matmul(lines[:, used], weights.T, out=filtered_lines[:, made])
    for made, used, weights in down:
        np.matmul(weights, filtered[:, used], out=result[:, made])
    return result


@cache
def _gaussian(sigma: float, *, order: int = 0, truncate: float = 4.0) -> Bands:
    from scipy.ndimage import gaussian_filter1d

    return _bands(partial(gaussian_filter1d, sigma=sigma, order=order, truncate=truncate))


@cache
def _mean(size: int) -> Bands:
    from scipy.ndimage import uniform_filter1d

    return _bands(partial(uniform_filter1d, size=size, mode="constant"))


def _bands(filter_lines: Callable[..., Any]) -> Bands:
    """The filter as pixels made, pixels that they depend on, and the weights between them."""
    matrix = np.asarray(filter_lines(np.eye(SIDE), axis=0), np.float32)
    bands = []
    for first in range(0, SIDE, BAND):
        rows = matrix[first : first + BAND]
        used = np.flatnonzero(rows.any(axis=0))
        columns = slice(int(used[0]), int(used[-1]) + 1)
        bands.append((slice(first, first + BAND), columns, np.ascontiguousarray(rows[:, columns])))
    return tuple(bands)
