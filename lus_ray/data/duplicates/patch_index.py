"""An index of the patches of many clips by hash, which finds patches alike to those of one clip.

A hash is the signs of random projections; every patch has several. They are long, so that few
patches share one by chance: a query costs nearly the same among a hundred clips and among a hundred
thousand, and whether two clips match does not depend on the others.

Letters: N patches of a clip, C clips, V variants of a query, D numbers per patch, P pairs.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int8, Int64, UInt32

NUM_TABLES = 12
NUM_BITS = 28
"""Signs in a hash: two patches with a cosine of 0.95 share a hash in half of cases."""
PATCH_BITS = 9
"""For the number of a patch in its clip, of which there are at most 320."""
MAX_SHARED = 8
"""A hash that more clips share is ignored: it points to no clip in particular, and its list would
grow with the store. Forty copies of one clip are still found."""
BLOCK = 1 << 16
FULL = 127
"""A number 1 of a vector as it is stored."""
SPREAD = 0x9E3779B1
"""An odd number (Fibonacci hashing): many patches differ in few signs and would share buckets."""
WORD = 32
PLANES = np.random.default_rng(0).standard_normal((35, NUM_TABLES, WORD)).astype(np.float32)
"""A word of signs for each table, of which a hash has the first ones."""


@dataclass(frozen=True)
class PatchPairs:
    """Pairs of a query's patch and an indexed one that share a hash, once per hash."""

    variant: Int64[np.ndarray, "P"]
    mine: Int64[np.ndarray, "P"]
    clip: Int64[np.ndarray, "P"]
    theirs: Int64[np.ndarray, "P"]

    def select(self, kept: Bool[np.ndarray, "P"]) -> "PatchPairs":
        return PatchPairs(self.variant[kept], self.mine[kept], self.clip[kept], self.theirs[kept])


class PatchIndex:
    """The patches of clips, numbered as given; some 30 kB a clip."""

    def __init__(self, patches: Iterable[Int8[np.ndarray, "N D"]]) -> None:
        listed = list(patches)
        self.first = np.cumsum([0, *map(len, listed)])
        self.vectors = np.concatenate([*listed, np.zeros((0, len(PLANES)), np.int8)])
        num_patches, num_clips = len(self.vectors), len(listed)
        # The first bits of a hash choose a bucket, its entries hold the others.
        bucket_bits = min(max(num_patches.bit_length() - 1, 8), NUM_BITS)
        self.check_bits = NUM_BITS - bucket_bits
        self.clip_bits = max(1, (num_clips - 1).bit_length())
        size = PATCH_BITS + self.clip_bits + self.check_bits
        self.entries = np.zeros(NUM_TABLES * num_patches, np.uint32 if size <= 32 else np.uint64)
        self.starts = np.zeros((NUM_TABLES, (1 << bucket_bits) + 1), np.uint32)
        owner = np.repeat(np.arange(num_clips, dtype=np.uint64), np.diff(self.first))
        number = np.arange(num_patches, dtype=np.uint64) - self.first[owner].astype(np.uint64)
        names = owner << np.uint64(PATCH_BITS) | number
        del owner, number
        filled = 0
        for table in range(NUM_TABLES):
            filled = self._fill(table, names, filled)
        self.entries = self.entries[:filled]

    def _fill(self, table: int, names: np.ndarray, filled: int) -> int:
        """Sort the patches by their hash in one table, behind the entries of those before."""
        name_bits = np.uint64(PATCH_BITS + self.clip_bits)
        keys = np.empty(len(names), np.uint64)
        for start in range(0, len(names), BLOCK):
            vectors = self.vectors[start : start + BLOCK].astype(np.float32)
            keys[start : start + BLOCK] = _hash(vectors @ PLANES[:, table])
        keys = np.sort(keys << name_bits | names)
        hashes = keys >> name_bits
        ends = np.flatnonzero(np.diff(hashes, append=np.uint64(1 << NUM_BITS)))
        new_clips = np.cumsum(np.diff(keys >> np.uint64(PATCH_BITS), prepend=np.uint64(0)) > 0)
        is_rare = np.diff(new_clips[ends], prepend=0) <= MAX_SHARED
        if not is_rare.all():
            kept = np.repeat(is_rare, np.diff(ends, prepend=-1))
            keys, hashes = keys[kept], hashes[kept]
        buckets = (hashes >> np.uint64(self.check_bits)).astype(np.int64)
        counts = np.bincount(buckets, minlength=self.starts.shape[1] - 1)
        self.starts[table] = filled + np.concatenate([[0], np.cumsum(counts)])
        end = filled + len(keys)
        low_bits = (np.uint64(1) << (name_bits + np.uint64(self.check_bits))) - np.uint64(1)
        self.entries[filled:end] = keys & low_bits
        return end

    def match(
        self,
        query: Float32[np.ndarray, "V N D"],
        candidates: Bool[np.ndarray, "C"],
        *,
        least: int = 1,
    ) -> PatchPairs:
        """Pairs of patches that share a hash, once per hash, with clips among `candidates`.

        Variants in which a clip has fewer than `least` pairs are left out.
        """
        projections = query.reshape(-1, len(PLANES)) @ PLANES.reshape(len(PLANES), -1)
        hashes = _hash(projections.reshape(-1, NUM_TABLES, WORD))
        buckets = (hashes >> self.check_bits) + self.starts.shape[1] * np.arange(NUM_TABLES)
        start = self.starts.ravel()[buckets].ravel().astype(np.int64)
        length = self.starts.ravel()[buckets + 1].ravel() - start
        total = np.cumsum(length)
        which = np.repeat(np.arange(len(start)), length)
        found = self.entries[np.arange(len(which)) + np.repeat(start - total + length, length)]
        wanted = (hashes & ((1 << self.check_bits) - 1)).ravel()[which]
        clip = found >> PATCH_BITS & ((1 << self.clip_bits) - 1)
        kept = np.flatnonzero((found >> (PATCH_BITS + self.clip_bits) == wanted) & candidates[clip])
        counts = np.bincount(clip[kept], minlength=len(candidates))
        kept = kept[counts[clip[kept]] >= least]
        clip, theirs = clip[kept].astype(np.int64), found[kept] & ((1 << PATCH_BITS) - 1)
        variant, mine = np.divmod(which[kept] // NUM_TABLES, max(query.shape[1], 1))
        _, place, votes = np.unique(
            clip * len(query) + variant, return_inverse=True, return_counts=True
        )
        pairs = PatchPairs(variant, mine, clip, theirs.astype(np.int64))
        return pairs.select(votes[place] >= least)

    def similarity(
        self, query: Float32[np.ndarray, "V N D"], pairs: PatchPairs
    ) -> Float32[np.ndarray, "P"]:
        """The cosine between the two patches of each pair."""
        theirs = self.vectors[self.first[pairs.clip] + pairs.theirs].astype(np.float32)
        return np.einsum("nd,nd->n", query[pairs.variant, pairs.mine], theirs) / FULL


def _hash(projections: Float32[np.ndarray, "... bits"]) -> UInt32[np.ndarray, "..."]:
    words = np.packbits(projections > 0).view(np.dtype(">u4")).reshape(projections.shape[:-1])
    hashes = words.astype(np.uint32) >> np.uint32(WORD - NUM_BITS)
    return hashes * np.uint32(SPREAD) & np.uint32((1 << NUM_BITS) - 1)


def quantize(vectors: Float32[np.ndarray, "N D"]) -> Int8[np.ndarray, "N D"]:
    return np.rint(vectors * FULL).astype(np.int8)
