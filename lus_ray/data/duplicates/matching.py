"""Clips that show the same acquisition, although none of their bytes are equal.

A copy may be re-encoded, cropped, mirrored, enlarged, brightened, shortened or played at another
rate. Clips of different patients from one scanner share the fan, the text and the layers of the
chest wall, so the fine texture of moving parts is compared:

    candidates  pairs of clips in which many patches agree on one scale, mirroring and shift
    similarity  correlation of the local contrast of two frames, registered that way

Why patches first: their hashes are looked up in an index, so a hundred thousand clips need no
comparison of all pairs. The thresholds lie between the largest values of different patients and
the smallest of planted copies.
"""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Float32, Int8, Int64, UInt8
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from lus_ray.data.duplicates.features import (
    MIRRORED,
    NUM_NUMBERS,
    SCALES,
    Features,
    describe_patches,
    extract_features,
)
from lus_ray.data.duplicates.patch_index import PatchIndex, quantize
from lus_ray.storage.child_process import count_cores

FINE = (0.95, 0.975, 1.0, 1.025, 1.05)
"""Scales tried around the one with the most votes."""
ALIKE = 0.8
"""Cosine between two patches that may be the same."""
SHIFT_BIN = 6
"""Pixels within which shifts agree."""
MIN_VOTES = 6
MOST_TRIED = 3
"""Alignments, and then pairs of frames, tried for two clips."""
MIN_SIMILARITY = 0.72
NUM_VARIANTS = 2 * len(SCALES)
"""A clip is searched in every scale, as it is and mirrored."""


@dataclass(frozen=True)
class Match:
    """Clips number `one` and `other` show the same acquisition.

    `similarity` is the correlation of local contrast (at most 1), `votes` the number of patches
    that agree, `scale` the enlargement from `one` to `other`; `mirrored` is left to right.
    """

    one: int
    other: int
    similarity: float
    votes: int
    scale: float
    mirrored: bool


@dataclass(frozen=True)
class Patches:
    """The patches of a clip: the corners (frame, row, column) and a vector for each."""

    corners: UInt8[np.ndarray, "N 3"]
    vectors: Int8[np.ndarray, "N D"]

    def to_bytes(self) -> bytes:
        return self.corners.tobytes() + self.vectors.tobytes()

    @classmethod
    def from_bytes(cls, content: bytes) -> "Patches":
        num = len(content) // (3 + NUM_NUMBERS)
        corners = np.frombuffer(content, np.uint8, 3 * num).reshape(num, 3)
        return cls(
            corners, np.frombuffer(content, np.int8, offset=3 * num).reshape(num, NUM_NUMBERS)
        )


@dataclass(frozen=True)
class Candidate:
    one: int
    other: int
    votes: int
    shift: tuple[float, float]
    scale: float
    mirrored: bool


@threadpool_limits.wrap(limits=1, user_api="blas")  # small products only: threads would wait
def find_matches(
    signatures: Sequence[bytes | None],
    known_groups: Sequence[int],
    patches: Sequence[Patches | None] | None = None,
) -> list[Match]:
    """Pairs of clips that show the same acquisition, in order of the clips.

    Clips with equal numbers in `known_groups` are not compared; a clip without a signature matches
    none. Signatures are described where `patches` has none of them.
    """
    known = [number for number, text in enumerate(signatures) if text is not None]
    groups = np.asarray(known_groups)[known]
    # After the last change of group, a clip is compared with no later one.
    changes = np.flatnonzero(np.diff(groups))
    if not len(changes):
        return []
    with ThreadPoolExecutor(count_cores()) as pool:
        texts = [signatures[number] or b"" for number in known]
        ready = [patches[number] if patches else None for number in known]
        described = list(pool.map(lambda text, had: had or describe_signature(text), texts, ready))
        search = _Search(texts, described, groups)
        found = pool.map(search.find, range(changes[-1] + 1))
        return [
            replace(match, one=known[match.one], other=known[match.other])
            for matches in found
            for match in matches
        ]


class _Search:
    def __init__(
        self, signatures: Sequence[bytes], patches: list[Patches], groups: Int64[np.ndarray, "C"]
    ) -> None:
        self.signatures, self.groups = signatures, groups
        self.corners = [described.corners for described in patches]
        self.positions = np.concatenate(self.corners)[:, 1:].astype(np.int64)
        self.index = PatchIndex(described.vectors for described in patches)
        self.features = lru_cache(maxsize=32)(self._extract)

    def _extract(self, number: int) -> Features:
        return extract_features(self.signatures[number], self.corners[number])

    def find(self, number: int) -> list[Match]:
        """Later clips that show the same acquisition, in order."""
        matches: dict[int, Match] = {}
        for candidate in self._candidates(number):
            if candidate.other not in matches:
                match = _compare(self.features(number), self.features(candidate.other), candidate)
                if match.similarity >= MIN_SIMILARITY:
                    matches[candidate.other] = match
        return [matches[other] for other in sorted(matches)]

    def _candidates(self, number: int) -> list[Candidate]:
        """Later clips in which enough patches agree, each in at most `MOST_TRIED` alignments."""
        one = self.features(number)
        patches = describe_patches(one, SCALES)
        query = np.stack([patches, patches * MIRRORED], axis=1)
        query = query.reshape(NUM_VARIANTS, *patches.shape[1:])
        candidates = self.groups != self.groups[number]
        candidates[: number + 1] = False
        pairs = self.index.match(query, candidates, least=MIN_VOTES)
        pairs = pairs.select(self.index.similarity(query, pairs) > ALIKE)
        positions = one.corners[pairs.mine, 1:]
        mirrored = pairs.variant[:, None] % 2
        step = np.array(SCALES)[pairs.variant // 2, None] * np.where(mirrored, (1, -1), 1)
        theirs = self.positions[self.index.first[pairs.clip] + pairs.theirs]
        tried: Counter[int] = Counter()
        kept = []
        for candidate in _votes(
            number, pairs.clip, positions, theirs - positions * step, pairs.variant
        ):
            tried[candidate.other] += 1
            if tried[candidate.other] <= MOST_TRIED:
                kept.append(candidate)
        return kept


def describe_signature(signature: bytes) -> Patches:
    features = extract_features(signature)
    return Patches(features.corners.astype(np.uint8), quantize(describe_patches(features)[0]))


def _votes(
    one: int,
    others: Int64[np.ndarray, "P"],
    positions: Int64[np.ndarray, "P 2"],
    shift: Float[np.ndarray, "P 2"],
    variant: Int64[np.ndarray, "P"],
) -> list[Candidate]:
    candidates = []
    bins = np.rint(shift / SHIFT_BIN).astype(np.int64) + 64
    key = ((others * 16 + variant) * 256 + bins[:, 0]) * 256 + bins[:, 1]
    # A still structure is in every frame; its position votes once.
    cell = (positions[:, 0] // SHIFT_BIN) * 32 + positions[:, 1] // SHIFT_BIN
    distinct = np.unique(key * 1024 + cell) // 1024
    keys, votes = np.unique(distinct, return_counts=True)
    for agreed, num_votes in zip(keys[votes >= MIN_VOTES], votes[votes >= MIN_VOTES], strict=True):
        centre = shift[key == agreed].mean(0)
        other, which = divmod(int(agreed) >> 16, 16)
        alignment = (centre[0], centre[1]), SCALES[which // 2], which % 2 == 1
        candidates.append(Candidate(one, other, int(num_votes), *alignment))
    return sorted(candidates, key=lambda candidate: -candidate.votes)


def _compare(one: Features, other: Features, candidate: Candidate) -> Match:
    scale, mirrored = candidate.scale, candidate.mirrored
    patches = describe_patches(one, (scale,))[0] * (MIRRORED if mirrored else 1)
    alike = patches @ describe_patches(other)[0].T
    mine, theirs = np.nonzero(alike > ALIKE)
    moved = one.corners[mine, 1:] * np.array([scale, -scale if mirrored else scale])
    off = np.abs(other.corners[theirs, 1:] - moved - candidate.shift).max(1)
    mine, theirs = mine[off < SHIFT_BIN], theirs[off < SHIFT_BIN]
    frames = np.column_stack([one.corners[mine, 0], other.corners[theirs, 0]])
    pairs, counts = np.unique(frames, axis=0, return_counts=True)
    anchor = one.corners[mine, 1:].mean(0), other.corners[theirs, 1:].mean(0)
    first, *others = pairs[np.argsort(-counts, kind="stable")[:MOST_TRIED]].tolist()

    def correlate(fine: float, k: int, m: int) -> float:
        registered = _register(one, k, anchor, fine, mirrored)
        return _correlation(*registered, other.contrast[m], other.valid)

    best, fine = max((correlate(scale * f, *first), scale * f) for f in FINE)
    best = max([best, *(correlate(fine, *pair) for pair in others)])
    return Match(candidate.one, candidate.other, round(best, 3), candidate.votes, fine, mirrored)


def _register(
    one: Features,
    frame: int,
    anchor: tuple[Float[np.ndarray, "2"], Float[np.ndarray, "2"]],
    scale: float,
    mirrored: bool,
) -> tuple[Float32[np.ndarray, "H W"], Bool[np.ndarray, "H W"]]:
    step = np.array([1 / scale, (-1 if mirrored else 1) / scale])
    offset = anchor[0] - step * anchor[1]
    from scipy import ndimage  # here: predictions read records without it

    contrast = ndimage.affine_transform(one.contrast[frame], step, offset, order=1)
    valid = ndimage.affine_transform(one.valid.astype(np.float32), step, offset, order=1) > 0.5
    return contrast * valid, valid


def _correlation(
    one: Float32[np.ndarray, "H W"],
    one_valid: Bool[np.ndarray, "H W"],
    other: Float32[np.ndarray, "H W"],
    other_valid: Bool[np.ndarray, "H W"],
) -> float:
    from scipy.fft import irfft2, rfft2

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
