"""Which clips show the same acquisition, although not one byte of them is equal.

A copy may be encoded again, cropped, mirrored, enlarged, brightened, shortened or played at
another rate. Clips of different patients on one scanner share the fan, the text and the layers of
the chest wall, so what is compared is the fine texture that moves:

    signature   six small frames; pixels that never change (text, borders) are taken out
    features    local contrast, corners in it, and a cosine transform of the patch around each
    candidates  pairs of clips in which many patches agree on one scale, mirroring and shift
    similarity  correlation of the local contrast of two frames, laid over each other that way

Letters: T frames of the clip, K frames of a signature, H rows, W columns, N corners, D numbers a
patch. Positions are (frame, row, column) in pixels of the signature.
Why patches first: their hashes meet in sorted tables, so ten thousand clips need no comparison of
all pairs; only candidates are laid over each other.
"""

import struct
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int, Int32, Int64, UInt8
from scipy import ndimage
from scipy.fft import dctn, irfft2, rfft2
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from torch.nn.functional import interpolate

SIDE = 128
"""Longer side of a signature's frames in pixels."""
NUM_FRAMES = 6
NUM_SEEN = 16
"""Frames over which a pixel must change to count."""
HEADER = struct.Struct("<BBHH")
VERSION = 1

DARK = 0.1
"""Below this share of the bright grey a pixel shows the noise of the scanner, not the patient."""

NUM_CORNERS = 40
"""Corners kept per frame, the strongest ones."""
REACH = 10
"""Half the side of a patch in pixels."""
SCALES = (0.80, 0.89, 1.0, 1.12, 1.25)
"""Enlargements tried: cropping a fifth of the side enlarges what is left by 1.25."""
MIRRORED = np.array([(-1.0) ** (place % 6) for place in range(1, 36)], np.float32)
"""A mirrored patch has the same cosine transform with the odd columns negated."""

NOISE = 6.0
"""Deviation in grey values below which contrast fades."""

NUM_TABLES = 16
MOST_MEET = 64
"""A hash that more patches share than this says nothing."""
ALIKE = 0.8
"""Cosine between two patches that may be the same."""
SHIFT_BIN = 6
"""Pixels within which shifts agree."""
MIN_VOTES = 6
MOST_TRIED = 3
"""Ways in which a pair of clips is laid over each other."""
MIN_SIMILARITY = 0.72


@dataclass(frozen=True)
class Match:
    """Clips number `one` and `other` show the same acquisition.

    `similarity` is the correlation of local contrast (at most 1), `votes` the number of patches
    that agree, `scale` the enlargement from `one` to `other`, `mirrored` left to right.
    """

    one: int
    other: int
    similarity: float
    votes: int
    scale: float
    mirrored: bool


@dataclass(frozen=True)
class Features:
    """What a signature is compared by: local contrast, where it counts, and corners in it."""

    contrast: Float32[np.ndarray, "K H W"]
    valid: Bool[np.ndarray, "H W"]
    corners: Int64[np.ndarray, "N 3"]


@dataclass(frozen=True)
class Candidate:
    """Clips that may match: number of votes, mean shift in pixels, enlargement, mirroring."""

    one: int
    other: int
    votes: int
    shift: tuple[float, float]
    scale: float
    mirrored: bool


def signature(frames: UInt8[np.ndarray, "T H W"]) -> bytes:
    """Six small frames of a clip as compressed bytes, some 20-45 kB; 0 marks what does not count.

    What counts changes and is not dark; in a still image all that is not dark counts.
    """
    seen = frames[_spread(len(frames), NUM_SEEN)]
    scale = SIDE / max(frames.shape[1:])
    size = tuple(max(2 * REACH, round(length * scale)) for length in frames.shape[1:])
    pixels = torch.from_numpy(np.ascontiguousarray(seen))[:, None]
    small = interpolate(pixels, size, mode="bilinear", antialias=True)[:, 0].numpy()
    kept = np.maximum(small[_spread(len(small), NUM_FRAMES)] >> 2, 1)
    mean = ndimage.uniform_filter(small.mean(0, dtype=np.float32), 5)
    changes = ndimage.uniform_filter((small.std(0) > 1).astype(np.float32), 5) > 0.5
    if changes.mean() > 0.05:
        kept[:, ~changes] = 0
    kept[:, mean < DARK * np.percentile(mean, 99)] = 0
    return HEADER.pack(VERSION, *kept.shape) + zlib.compress(kept.tobytes(), 1)


@threadpool_limits.wrap(limits=1, user_api="blas")  # small products only: threads would just wait
def find(signatures: Sequence[bytes | None], together: Sequence[int]) -> list[Match]:
    """Pairs of clips that show the same acquisition, in order of the clips.

    Clips with equal numbers in `together` are known to belong together and are not compared; a
    clip without a signature matches none.
    """
    best: dict[tuple[int, int], Match] = {}
    for candidate in _candidates(signatures, together):
        match = _compare(signatures, candidate)
        pair = (match.one, match.other)
        if match.similarity >= MIN_SIMILARITY and (
            pair not in best or match.similarity > best[pair].similarity
        ):
            best[pair] = match
    return [best[pair] for pair in sorted(best)]


@lru_cache(maxsize=512)
def features(signature: bytes) -> Features:
    """Local contrast and corners of a signature; none for a signature of another version."""
    version, *shape = HEADER.unpack_from(signature)
    if version != VERSION:
        blank = np.zeros((1, SIDE, SIDE), np.float32)
        return Features(blank, blank[0] > 0, np.zeros((0, 3), np.int64))
    kept = np.frombuffer(zlib.decompress(signature[HEADER.size :]), np.uint8).reshape(shape)
    frames = np.zeros((len(kept), SIDE, SIDE), np.float32)
    frames[:, : shape[1], : shape[2]] = kept
    valid = np.asarray((frames > 0).any(axis=0))
    contrast = _local_contrast(frames * 4, valid.astype(np.float32))
    corners = [
        np.column_stack([np.full(len(places), k), places])
        for k, places in enumerate(_corners(frame, valid) for frame in contrast)
    ]
    return Features(contrast, valid, np.concatenate(corners))


def describe(seen: Features, scale: float) -> Float32[np.ndarray, "N D"]:
    """Unit vectors of the patches around the corners, after enlargement by `scale`."""
    steps = (np.arange(12) - 5.5) * (2 * REACH / 12) / scale
    frame, row, column = (axis[:, None, None] for axis in seen.corners.T)
    grid = np.broadcast_arrays(frame, row + steps[:, None], column + steps)
    patches = ndimage.map_coordinates(seen.contrast, grid, order=1, mode="constant")
    low = dctn(patches, axes=(1, 2), norm="ortho")[:, :6, :6].reshape(len(patches), 36)[:, 1:]
    vectors = low / (np.linalg.norm(low, axis=1, keepdims=True) + 1e-6)
    return vectors.astype(np.float32)


def _candidates(signatures: Sequence[bytes | None], together: Sequence[int]) -> Iterator[Candidate]:
    """Pairs in which enough patches agree; of a pair the few best enlargements and shifts."""
    known = [number for number, text in enumerate(signatures) if text is not None]
    if len(known) < 2:
        return
    seen = [features(signatures[number] or b"") for number in known]
    owner = np.repeat(known, [len(f.corners) for f in seen])
    group = np.asarray(together)
    corners = np.concatenate([f.corners for f in seen])
    vectors = np.concatenate([describe(f, 1.0) for f in seen])
    tables = _Tables(vectors)
    for number, one in zip(known, seen, strict=True):
        query = np.concatenate(
            [describe(one, scale) * sign for scale in SCALES for sign in (1, MIRRORED)]
        )
        mine, theirs = tables.meet(query)
        new = (owner[theirs] > number) & (group[owner[theirs]] != group[number])
        mine, theirs = mine[new], theirs[new]
        sharp = np.einsum("nd,nd->n", query[mine], vectors[theirs]) > ALIKE
        mine, theirs = mine[sharp], theirs[sharp]
        variant, corner = np.divmod(mine, max(len(one.corners), 1))
        places = one.corners[corner, 1:]
        step = np.array(SCALES)[variant // 2, None] * np.where(variant[:, None] % 2, (1, -1), 1)
        shift = corners[theirs, 1:] - places * step
        tried: Counter[int] = Counter()
        for found in _votes(number, owner[theirs], places, shift, variant):
            tried[found.other] += 1
            if tried[found.other] <= MOST_TRIED:
                yield found


class _Tables:
    """Patches by hash: the signs of random projections, several hashes for each patch."""

    def __init__(self, vectors: Float32[np.ndarray, "N D"]) -> None:
        self.num_bits = int(np.clip(np.log2(max(len(vectors), 2)), 10, 24))
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
        self.length = np.where(length > MOST_MEET, 0, length)

    def meet(
        self, query: Float32[np.ndarray, "M D"]
    ) -> tuple[Int64[np.ndarray, "P"], Int64[np.ndarray, "P"]]:
        """Numbers of query patches and of table patches that share a hash, once a hash."""
        wanted = self._hash(query).ravel()
        order = np.argsort(wanted, kind="stable")  # an ordered search stays in the cache
        place = np.minimum(np.searchsorted(self.keys, wanted[order]), len(self.keys) - 1)
        length = np.where(self.keys[place] == wanted[order], self.length[place], 0)
        offset = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
        mine = np.repeat(order // NUM_TABLES, length)
        return mine, self.patches[np.repeat(self.first[place], length) + offset]

    def _hash(self, vectors: Float32[np.ndarray, "N D"]) -> Int32[np.ndarray, "N tables"]:
        """One number per table, of which the high bits are the table."""
        signs = (vectors @ self.planes > 0).reshape(len(vectors), NUM_TABLES, self.num_bits)
        hashes = signs @ (1 << np.arange(self.num_bits, dtype=np.int32))
        return hashes + (np.arange(NUM_TABLES, dtype=np.int32) << self.num_bits)


def _votes(
    one: int,
    others: Int64[np.ndarray, "P"],
    places: Int64[np.ndarray, "P 2"],
    shift: Float[np.ndarray, "P 2"],
    variant: Int64[np.ndarray, "P"],
) -> list[Candidate]:
    """Clips with enough patches, from different places, that agree; the most votes first."""
    found = []
    bins = np.rint(shift / SHIFT_BIN).astype(np.int64) + 64
    key = ((others * 16 + variant) * 256 + bins[:, 0]) * 256 + bins[:, 1]
    # A structure that stands still is seen in every frame; its place votes once.
    place = (places[:, 0] // SHIFT_BIN) * 32 + places[:, 1] // SHIFT_BIN
    distinct = np.unique(key * 1024 + place) // 1024
    keys, votes = np.unique(distinct, return_counts=True)
    for agreed, num_votes in zip(keys[votes >= MIN_VOTES], votes[votes >= MIN_VOTES], strict=True):
        centre = shift[key == agreed].mean(0)
        other, which = divmod(int(agreed) >> 16, 16)
        scale, mirrored = SCALES[which // 2], which % 2 == 1
        found.append(Candidate(one, other, int(num_votes), (centre[0], centre[1]), scale, mirrored))
    return sorted(found, key=lambda candidate: -candidate.votes)


def _compare(signatures: Sequence[bytes | None], candidate: Candidate) -> Match:
    """Lay one clip over the other as the votes say, and correlate."""
    one, other = (features(signatures[n] or b"") for n in (candidate.one, candidate.other))
    scale, mirrored = candidate.scale, candidate.mirrored
    alike = (describe(one, scale) * (MIRRORED if mirrored else 1)) @ describe(other, 1.0).T
    mine, theirs = np.nonzero(alike > ALIKE)
    placed = _placed(one.corners[mine, 1:], scale, mirrored)
    off = np.abs(other.corners[theirs, 1:] - placed - candidate.shift).max(1)
    mine, theirs = mine[off < SHIFT_BIN], theirs[off < SHIFT_BIN]
    pairs, counts = np.unique(
        np.column_stack([one.corners[mine, 0], other.corners[theirs, 0]]),
        axis=0,
        return_counts=True,
    )
    anchor = one.corners[mine, 1:].mean(0), other.corners[theirs, 1:].mean(0)
    best, best_scale = -1.0, scale
    for fine in scale * np.array([0.95, 0.975, 1.0, 1.025, 1.05]):
        for k, m in pairs[np.argsort(-counts, kind="stable")[:4]]:
            laid, valid = _lay(one, int(k), anchor, float(fine), mirrored)
            value = _correlation(laid, valid, other.contrast[m], other.valid)
            if value > best:
                best, best_scale = value, float(fine)
    return Match(
        candidate.one, candidate.other, round(best, 3), candidate.votes, best_scale, mirrored
    )


def _lay(
    one: Features,
    frame: int,
    anchor: tuple[Float[np.ndarray, "2"], Float[np.ndarray, "2"]],
    scale: float,
    mirrored: bool,
) -> tuple[Float32[np.ndarray, "H W"], Bool[np.ndarray, "H W"]]:
    """A frame of one clip, enlarged about the anchor, in pixels of the other."""
    step = np.array([1 / scale, (-1 if mirrored else 1) / scale])
    offset = anchor[0] - step * anchor[1]
    contrast = ndimage.affine_transform(one.contrast[frame], step, offset, order=1)
    valid = ndimage.affine_transform(one.valid.astype(np.float32), step, offset, order=1) > 0.5
    return contrast * valid, valid


def _correlation(
    one: Float32[np.ndarray, "H W"],
    one_valid: Bool[np.ndarray, "H W"],
    other: Float32[np.ndarray, "H W"],
    other_valid: Bool[np.ndarray, "H W"],
) -> float:
    """Correlation where both count, at the shift of a few pixels where it is highest."""
    surface = irfft2(rfft2(other) * np.conj(rfft2(one)), s=other.shape)
    reach = np.arange(-SHIFT_BIN, SHIFT_BIN + 1)
    near = surface[np.ix_(reach, reach)]
    row, column = np.unravel_index(int(near.argmax()), near.shape)
    shift = (int(reach[row]), int(reach[column]))
    both = np.roll(one_valid, shift, (0, 1)) & other_valid
    if both.sum() < 0.25 * min(one_valid.sum(), other_valid.sum()):
        return -1.0
    x, y = np.roll(one, shift, (0, 1))[both], other[both]
    return float(x @ y / np.sqrt((x @ x) * (y @ y) + 1e-6))


def _local_contrast(
    frames: Float32[np.ndarray, "K H W"], weight: Float32[np.ndarray, "H W"]
) -> Float32[np.ndarray, "K H W"]:
    """Grey minus its local mean over its local deviation, counted pixels only: free of gain."""

    def blur(x: np.ndarray, sigma: float) -> np.ndarray:
        return ndimage.gaussian_filter(x, (*(0,) * (x.ndim - 2), sigma, sigma), truncate=3)

    total = blur(weight, 4) + 1e-3
    rest = (frames - blur(frames * weight, 4) / total) * weight
    deviation = np.sqrt(blur(rest * rest, 4) / total)
    return blur(rest / (deviation + NOISE), 0.7) * weight


def _corners(
    contrast: Float32[np.ndarray, "H W"], valid: Bool[np.ndarray, "H W"]
) -> Int[np.ndarray, "N 2"]:
    """Row and column of the strongest corners (Noble's measure) whose patch counts."""
    down, across = (ndimage.gaussian_filter(contrast, 1, order) for order in ((1, 0), (0, 1)))
    dd, aa, da = (
        ndimage.gaussian_filter(g, 2) for g in (down * down, across * across, down * across)
    )
    counts = ndimage.uniform_filter(valid.astype(np.float32), 2 * REACH + 1, mode="constant")
    strength = np.where(counts > 0.8, (dd * aa - da * da) / (dd + aa + 1e-6), 0)
    peaks = (strength == ndimage.maximum_filter(strength, 7)) & (strength > 1e-4)
    places = np.argwhere(peaks)
    return places[np.argsort(-strength[peaks], kind="stable")[:NUM_CORNERS]]


def _placed(
    places: Int64[np.ndarray, "P 2"], scale: float, mirrored: bool
) -> Float[np.ndarray, "P 2"]:
    """Rows and columns after enlargement and mirroring about the origin."""
    return places * np.array([scale, -scale if mirrored else scale])


def _spread(num_available: int, num_wanted: int) -> Int64[np.ndarray, "K"]:
    """Middles of equal shares of the time."""
    num = min(num_available, num_wanted)
    return ((np.arange(num) + 0.5) * num_available / num).astype(np.int64)
