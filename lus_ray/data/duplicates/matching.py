"""Clips that show the same acquisition, although none of their bytes are equal.

A copy may be re-encoded, cropped, mirrored, enlarged, brightened, shortened or played at another
rate. Clips of different patients from one scanner share the fan, the text and the layers of the
chest wall, so the fine texture of moving parts is compared:

    candidates  pairs of clips in which many patches agree on one scale, mirroring and shift
    similarity  correlation of the local contrast of two frames, registered that way

Why patches first: their hashes are looked up in sorted tables, so ten thousand clips need no
comparison of all pairs. The thresholds lie between the largest values of different patients and
the smallest of planted copies.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from lus_ray.data.duplicates.signature import (
    MIRRORED,
    Features,
    PatchTables,
    describe_patches,
    extract_features,
)

SCALES = (0.80, 0.89, 1.0, 1.12, 1.25)
"""Scales tried: cropping a fifth of the side enlarges the rest by 1.25."""
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
class Candidate:
    one: int
    other: int
    votes: int
    shift: tuple[float, float]
    scale: float
    mirrored: bool


@threadpool_limits.wrap(limits=1, user_api="blas")  # small products only: threads would wait
def find_matches(signatures: Sequence[bytes | None], known_groups: Sequence[int]) -> list[Match]:
    """Pairs of clips that show the same acquisition, in order of the clips.

    Clips with equal numbers in `known_groups` are not compared; a clip without a signature matches
    none.
    """
    matches: dict[tuple[int, int], Match] = {}
    for candidate in find_candidates(signatures, known_groups):
        pair = (candidate.one, candidate.other)
        if pair not in matches:
            match = compare_clips(signatures, candidate)
            if match.similarity >= MIN_SIMILARITY:
                matches[pair] = match
    return [matches[pair] for pair in sorted(matches)]


def find_candidates(
    signatures: Sequence[bytes | None], known_groups: Sequence[int]
) -> Iterator[Candidate]:
    """Pairs in which enough patches agree; of each pair the few best alignments."""
    known = [number for number, text in enumerate(signatures) if text is not None]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        patches = list(pool.map(_patches, (signatures[number] for number in known)))
        if len(known) > 1:
            groups = np.asarray(known_groups)
            patch_index = _PatchIndex(known, patches, groups)
            # After the last change of group, a clip is compared with no later one.
            changes = np.flatnonzero(np.diff(groups[known]))
            queried = known[: changes[-1] + 1] if len(changes) else []
            for candidates in pool.map(
                patch_index.match, queried, (signatures[n] for n in queried)
            ):
                yield from candidates


def _patches(text: bytes | None) -> tuple[Int64[np.ndarray, "N 3"], Float32[np.ndarray, "N D"]]:
    clip_features = extract_features(text or b"")
    return clip_features.corners, describe_patches(clip_features, 1.0)


class _PatchIndex:
    def __init__(
        self, known: Sequence[int], patches: Sequence[tuple], known_groups: Int64[np.ndarray, "C"]
    ) -> None:
        self.owner = np.repeat(known, [len(corners) for corners, _ in patches])
        self.corners = np.concatenate([corners for corners, _ in patches])
        self.vectors = np.concatenate([vectors for _, vectors in patches])
        self.tables = PatchTables(self.vectors)
        self.known_groups = known_groups

    def match(self, number: int, text: bytes | None) -> list[Candidate]:
        """Candidates among later clips, each in at most `MOST_TRIED` alignments."""
        one = extract_features(text or b"")
        query = np.concatenate(
            [describe_patches(one, scale) * sign for scale in SCALES for sign in (1, MIRRORED)]
        )
        mine, theirs = self.tables.match(query)
        others = self.owner[theirs]
        new = (others > number) & (self.known_groups[others] != self.known_groups[number])
        mine, theirs = mine[new], theirs[new]
        sharp = np.einsum("nd,nd->n", query[mine], self.vectors[theirs]) > ALIKE
        mine, theirs = mine[sharp], theirs[sharp]
        variant, corner = np.divmod(mine, max(len(one.corners), 1))
        positions = one.corners[corner, 1:]
        step = np.array(SCALES)[variant // 2, None] * np.where(variant[:, None] % 2, (1, -1), 1)
        shift = self.corners[theirs, 1:] - positions * step
        tried: Counter[int] = Counter()
        kept = []
        for candidate in _votes(number, self.owner[theirs], positions, shift, variant):
            tried[candidate.other] += 1
            if tried[candidate.other] <= MOST_TRIED:
                kept.append(candidate)
        return kept


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


def compare_clips(signatures: Sequence[bytes | None], candidate: Candidate) -> Match:
    one, other = (extract_features(signatures[n] or b"") for n in (candidate.one, candidate.other))
    scale, mirrored = candidate.scale, candidate.mirrored
    patches = describe_patches(one, scale) * (MIRRORED if mirrored else 1)
    alike = patches @ describe_patches(other, 1.0).T
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
