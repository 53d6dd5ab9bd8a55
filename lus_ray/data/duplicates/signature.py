"""Signatures of clips, and the patches in them that a copy would share.

    signature     eight small frames without dark pixels and those that never change (text, borders)
    features      local contrast of these frames, and corners in it
    patches       a cosine transform of the surroundings of each corner
    PatchTables   patches by hash, to find similar ones among millions

Letters: T frames of the clip, K frames of a signature, H rows, W columns, N corners, D numbers per
patch. Positions are (frame, row, column) in pixels of the signature.
Why a signature has pixels and no patches: the comparison can improve without a new ingest.
"""

import struct
import zlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float32, Int, Int32, Int64, UInt8
from scipy import ndimage
from scipy.fft import dctn

SIDE = 128
"""Longer side of a signature's frames in pixels."""
NUM_FRAMES = 8
NUM_INSPECTED = 16
"""Frames over which a pixel must change to count."""
DARK = 0.1
"""Below this share of the bright grey a pixel shows noise of the scanner."""
HEADER = struct.Struct("<BBHH")
VERSION = 1

NOISE = 6.0
"""Deviation in grey values below which contrast fades."""
MOVES = 12.0
"""Deviation over time in grey values from which a pixel counts fully: near-field rings and other
drawings of a scanner hardly move."""
NUM_CORNERS = 40
"""Corners kept per frame, the strongest ones."""
REACH = 10
"""Half the side of a patch in pixels."""
MIRRORED = np.array([(-1.0) ** (n % 6) for n in range(1, 36)], np.float32)
"""A mirrored patch has the same cosine transform with the odd columns negated."""

NUM_TABLES = 16
MAX_SHARED = 64
"""A hash that more patches share is ignored."""


@dataclass(frozen=True)
class Features:
    """Local contrast of a signature, where it is valid, and corners in it."""

    contrast: Float32[np.ndarray, "K H W"]
    valid: Bool[np.ndarray, "H W"]
    corners: Int64[np.ndarray, "N 3"]


def compute_signature(frames: UInt8[np.ndarray, "T H W"]) -> bytes:
    """Eight small frames of a clip as compressed bytes, some 20-60 kB; 0 marks invalid pixels.

    Valid pixels change and are not dark; in a still image all that are not dark.
    """
    import torch  # takes seconds, and only the ingest of files needs it
    from torch.nn.functional import interpolate

    inspected = frames[_spread(len(frames), NUM_INSPECTED)]
    scale = SIDE / max(frames.shape[1:])
    size = tuple(max(2 * REACH, round(length * scale)) for length in frames.shape[1:])
    pixels = torch.from_numpy(np.ascontiguousarray(inspected))[:, None]
    small = interpolate(pixels, size, mode="bilinear", antialias=True)[:, 0].numpy()
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


@lru_cache(maxsize=512)
def extract_features(signature: bytes) -> Features:
    """Local contrast and corners of a signature; none for a signature of another version."""
    small = unpack_signature(signature)
    frames = np.zeros((len(small), SIDE, SIDE), np.float32)
    frames[:, : small.shape[1], : small.shape[2]] = small
    valid = np.asarray((frames > 0).any(axis=0))
    contrast = _local_contrast(frames * 4, valid.astype(np.float32)) * _motion(frames * 4)
    corners = [
        np.column_stack([np.full(len(positions), k), positions])
        for k, positions in enumerate(_corners(frame, valid) for frame in contrast)
    ]
    return Features(contrast, valid, np.concatenate(corners))


def describe_patches(clip: Features, scale: float) -> Float32[np.ndarray, "N D"]:
    """Unit vectors of the patches around the corners, after scaling by `scale`."""
    steps = (np.arange(12) - 5.5) * (2 * REACH / 12) / scale
    frame, row, column = (axis[:, None, None] for axis in clip.corners.T)
    grid = np.broadcast_arrays(frame, row + steps[:, None], column + steps)
    patches = ndimage.map_coordinates(clip.contrast, grid, order=1, mode="constant")
    low = dctn(patches, axes=(1, 2), norm="ortho")[:, :6, :6].reshape(len(patches), 36)[:, 1:]
    vectors = low / (np.linalg.norm(low, axis=1, keepdims=True) + 1e-6)
    return vectors.astype(np.float32)


class PatchTables:
    """Patches by hash: the signs of random projections, several hashes for each patch."""

    def __init__(self, vectors: Float32[np.ndarray, "N D"]) -> None:
        self.num_bits = int(np.clip(np.log2(max(len(vectors), 2)) + 2, 10, 24))
        rng = np.random.default_rng(0)
        size = (vectors.shape[1], NUM_TABLES * self.num_bits)
        self.planes = rng.standard_normal(size).astype(np.float32)
        blocks = [self._hash(vectors[k : k + 4096]) for k in range(0, len(vectors), 4096)]
        keys = np.concatenate([*blocks, np.zeros((0, NUM_TABLES), np.int32)]).ravel()
        order = np.argsort(keys, kind="stable")
        self.patches = order // NUM_TABLES
        self.keys, self.first, length = np.unique(
            keys[order], return_index=True, return_counts=True
        )
        self.length = np.where(length > MAX_SHARED, 0, length)

    def match(
        self, query: Float32[np.ndarray, "M D"]
    ) -> tuple[Int64[np.ndarray, "P"], Int64[np.ndarray, "P"]]:
        """Numbers of query patches and of table patches that share a hash, once per hash."""
        wanted = self._hash(query).ravel()
        order = np.argsort(wanted, kind="stable")  # an ordered search stays in the cache
        key = np.minimum(np.searchsorted(self.keys, wanted[order]), len(self.keys) - 1)
        length = np.where(self.keys[key] == wanted[order], self.length[key], 0)
        offset = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
        mine = np.repeat(order // NUM_TABLES, length)
        return mine, self.patches[np.repeat(self.first[key], length) + offset]

    def _hash(self, vectors: Float32[np.ndarray, "N D"]) -> Int32[np.ndarray, "N tables"]:
        """One number per table, of which the high bits are the table."""
        signs = (vectors @ self.planes > 0).reshape(len(vectors), NUM_TABLES, self.num_bits)
        hashes = signs @ (1 << np.arange(self.num_bits, dtype=np.int32))
        return hashes + (np.arange(NUM_TABLES, dtype=np.int32) << self.num_bits)


def _local_contrast(
    frames: Float32[np.ndarray, "K H W"], weight: Float32[np.ndarray, "H W"]
) -> Float32[np.ndarray, "K H W"]:
    """Grey minus its local mean over its local deviation, of valid pixels: independent of gain."""

    def blur(x: np.ndarray, sigma: float) -> np.ndarray:
        return ndimage.gaussian_filter(x, (*(0,) * (x.ndim - 2), sigma, sigma), truncate=3)

    total = blur(weight, 4) + 1e-3
    rest = (frames - blur(frames * weight, 4) / total) * weight
    deviation = np.sqrt(blur(rest * rest, 4) / total)
    return blur(rest / (deviation + NOISE), 0.7) * weight


def _motion(frames: Float32[np.ndarray, "K H W"]) -> Float32[np.ndarray, "H W"]:
    """Weight of a pixel by its change over time, 0 to 1; 1 where nothing changes."""
    change = ndimage.gaussian_filter(frames.std(axis=0), 1.5)
    if np.percentile(change, 99) < 1:
        return np.ones_like(change)
    return np.clip(change / MOVES, 0, 1)


def _corners(
    contrast: Float32[np.ndarray, "H W"], valid: Bool[np.ndarray, "H W"]
) -> Int[np.ndarray, "N 2"]:
    """Row and column of the strongest corners (Noble's measure) with a valid patch."""
    down, across = (ndimage.gaussian_filter(contrast, 1, order) for order in ((1, 0), (0, 1)))
    dd, aa, da = (
        ndimage.gaussian_filter(g, 2) for g in (down * down, across * across, down * across)
    )
    counts = ndimage.uniform_filter(valid.astype(np.float32), 2 * REACH + 1, mode="constant")
    strength = np.where(counts > 0.8, (dd * aa - da * da) / (dd + aa + 1e-6), 0)
    peaks = (strength == ndimage.maximum_filter(strength, 7)) & (strength > 1e-4)
    positions = np.argwhere(peaks)
    return positions[np.argsort(-strength[peaks], kind="stable")[:NUM_CORNERS]]


def _spread(num_available: int, num_wanted: int) -> Int64[np.ndarray, "K"]:
    num = min(num_available, num_wanted)
    return ((np.arange(num) + 0.5) * num_available / num).astype(np.int64)
