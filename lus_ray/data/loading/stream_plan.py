"""What a stream reads in which order, and where it writes what it has read.

A read gives samples of one clip; reads are joined to blocks, which are read one after another.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import UInt8

from lus_ray.data.loading.sampler import SampleSpec
from lus_ray.data.transforms.view import View

PLACE = ("clip", "shard", "row_group", "row")
Location = tuple[str, str, int, int]
Read = list[tuple[tuple[int, int], SampleSpec]]
"""Samples of one clip, each with its batch and its place there."""
Samples = Mapping[str, Sequence[UInt8[np.ndarray, "T H W"]] | UInt8[np.ndarray, "B T H W"]]
"""Where the samples of a block are written, by `frames` and `masks`."""
BLOCK_BYTES, EARLY_BYTES, READ_BYTES = 16 << 20, 4 << 20, 2 << 20
"""Samples of a block; of an early one, for an early first batch and equal work at the end of a
short epoch; and the least that a read counts for."""
OWN_BYTES = 1 << 30
"""Samples of an epoch in early blocks, which one process reads alone."""


def plan_reads(sampled: Sequence[Sequence[SampleSpec]], *, by_frame: bool) -> list[Read]:
    """The samples of an epoch by the read that gives them, in the order of their first use.

    The frames of a clip are read at once, as a window keeps them together.
    """
    reads: dict[int, Read] = {}
    for batch, specs in enumerate(sampled):
        for place, spec in enumerate(specs):
            number = spec.row if by_frame else len(reads)
            reads.setdefault(number, []).append(((batch, place), spec))
    return list(reads.values())


def to_blocks(reads: Sequence[Read], view: View) -> tuple[list[list[Read]], int]:
    """Reads one after another, up to about `BLOCK_BYTES` of samples in a block.

    Also the number of early blocks, which are smaller, in the first `OWN_BYTES`.
    """
    blocks: list[list[Read]] = []
    size, left, total, num_early = view.num_frames * view.height * view.width, 0, 0, 0
    for read in reads:
        if left <= 0:
            early = total < OWN_BYTES
            left, num_early = (EARLY_BYTES if early else BLOCK_BYTES), num_early + early
            blocks.append([])
        num_bytes = max(size * len(read), READ_BYTES)
        left, total = left - num_bytes, total + num_bytes
        blocks[-1].append(read)
    return blocks, num_early


def describe(block: Sequence[Read], locations: Sequence[Location]) -> dict[str, Any]:
    """What a process needs to read a block."""
    rows = [read[0][1].row for read in block]
    return {
        "clips": [dict(zip(PLACE, locations[row], strict=True)) for row in rows],
        "seeds": [[spec.seed for _, spec in read] for read in block],
        "frames": [[spec.frame for _, spec in read] for read in block],
    }


class Images:
    """Frames and masks of batches of known sizes, whose samples are written in any order."""

    def __init__(self, sizes: Sequence[int], view: View, *, with_masks: bool) -> None:
        self.sizes, self.missing = sizes, list(sizes)
        self.shape = (view.num_frames, view.height, view.width)
        self.names = ("frames", "masks") if with_masks else ("frames",)
        self.filling: dict[int, dict[str, UInt8[np.ndarray, "B T H W"]]] = {}

    def of_block(self, block: Sequence[Read]) -> Samples:
        """The samples of a block at their places."""
        places = [place for read in block for place, _ in read]
        for batch in {batch for batch, _ in places} - self.filling.keys():
            shape = (self.sizes[batch], *self.shape)
            self.filling[batch] = {name: _new_images(shape) for name in self.names}
        return {name: [self.filling[b][name][place] for b, place in places] for name in self.names}

    def count(self, block: Sequence[Read]) -> None:
        """Note that the samples of a block are written."""
        for read in block:
            for (batch, _), _ in read:
                self.missing[batch] -= 1


def _new_images(shape: tuple[int, ...]) -> UInt8[np.ndarray, "B T H W"]:
    """Memory of a batch, with any values.

    Why Arrow's, which is kept when it is freed: the pages of other memory are new in every batch,
    and clearing them took a third of the CPU time of an epoch.
    """
    return np.frombuffer(pa.allocate_buffer(math.prod(shape)), np.uint8).reshape(shape)
