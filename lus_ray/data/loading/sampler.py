"""The order of an epoch: which clip or frame comes when, dealt before any pixel is read.

Why apart from the pixels: the same order gives the same batches whether the clips lie in memory
or stream from Parquet, on one worker or on several.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from lus_ray.clip import Row
from lus_ray.data.labels import class_index, oversample
from lus_ray.data.transforms.augment_gare2021 import SIX_COPIES
from lus_ray.errors import ArmError

MARKERS = (0, 0, 0, 1, 2, 3) * 6
"""Scores of a batch of frames, shuffled and cut to its size (Roy 2020, segmentation)."""

MOST_UNUSED, EACH_UNUSED, EXHAUSTED = 50, 0.2, 0.8
"""A clip with n unused frames is drawn in proportion to 1 + 0.2 (min(n, 50) - 1), one without
any in proportion to 0.8."""


@dataclass(frozen=True)
class Draw:
    """One sample of a batch: which row, and the seed of its random start, or its one frame.

    `copy` is a number of `lus_ray.data.transforms.augment_gare2021`.
    """

    row: int
    seed: int
    frame: int | None = None
    copy: int = 0


def order(
    rows: Sequence[Row],
    *,
    batch: int,
    seed: int,
    epoch: int,
    balance: str | None = None,
    by_frame: bool = False,
    num_draws: int = 0,
    copies: int = 1,
    rank: int = 0,
    workers: int = 1,
) -> list[list[Draw]]:
    """The batches of one epoch, every row once; with `balance`, every class equally often.

    `balance` names a label column whose smaller classes are repeated up to the largest. With
    `by_frame` the samples are single frames, `num_draws` of them (0: as many as there are):
    without `balance` each once before any comes again, with it drawn with replacement, the weight
    of a frame being one over the frames of its class (Roy 2020), or as `markers` does; a last
    batch that is not full is left out. Frames come in `copies`, unless a row lists its `images`
    (frame, copy). Worker `rank` of `workers` gets its share of each batch; shares are equal, and
    a last batch that would leave a worker idle is left out.
    """
    rng = np.random.default_rng([seed, epoch])
    if batch < 1:
        raise ArmError(f"a batch of {batch}; set arm.recipe.batch to 1 or more")
    if not 1 <= copies <= len(SIX_COPIES):
        raise ArmError(f"{copies} copies; set arm.recipe.copies from 1 to {len(SIX_COPIES)}")
    if by_frame:
        draws = _frames(rows, balance, num_draws, copies, batch, rng)
        draws = draws[: len(draws) // batch * batch] or draws
    else:
        chosen = np.arange(len(rows))
        if balance is not None:
            chosen = oversample(np.array([class_index(balance, row) for row in rows]), rng)
        chosen = rng.permutation(chosen)
        seeds = rng.integers(0, 2**31, len(chosen))
        draws = [Draw(int(row), int(s)) for row, s in zip(chosen, seeds, strict=True)]
    whole = [draws[i : i + batch] for i in range(0, len(draws), batch)]
    if workers == 1:
        return whole
    shares = [part[: len(part) // workers * workers][rank::workers] for part in whole]
    return [share for share in shares if share]


def _frames(
    rows: Sequence[Row],
    balance: str | None,
    num_draws: int,
    copies: int,
    batch: int,
    rng: np.random.Generator,
) -> list[Draw]:
    """Single frames in random order."""
    if balance not in (None, "frame_severity", "markers"):
        raise ArmError(
            f"frames cannot be balanced by {balance!r}; use 'frame_severity', 'markers' or null"
        )
    if balance is not None:
        _check_scored(rows)
    lists = [images_of(row, copies) for row in rows]
    row_of = np.repeat(np.arange(len(rows)), [len(images) for images in lists])
    images = np.concatenate(lists)
    number = num_draws or len(images)
    if balance is None:
        rounds = -(-number // len(images))
        chosen = np.concatenate([rng.permutation(len(images)) for _ in range(rounds)])[:number]
    else:
        target = np.concatenate(
            [np.asarray(r["frame_severity"])[i[:, 0]] for r, i in zip(rows, lists, strict=True)]
        )
        if balance == "markers":
            chosen = _markers(target, row_of, number, batch, rng)
        else:
            _, inverse, counts = np.unique(target, return_inverse=True, return_counts=True)
            weight = 1.0 / counts[inverse]
            chosen = rng.choice(len(images), number, p=weight / weight.sum())
    return [Draw(int(row_of[i]), 0, int(images[i][0]), int(images[i][1])) for i in chosen]


def num_images(rows: Sequence[Row], copies: int = 1) -> int:
    """How many single frames these rows have, copies counted."""
    return sum(len(images_of(row, copies)) for row in rows)


def _check_scored(rows: Sequence[Row]) -> None:
    for row in rows:
        if row["frame_severity"] is None:
            raise ArmError(
                f"{row['clip']}: no frame_severity to balance by; add the scores of its frames or "
                "set arm.recipe.oversample to null"
            )


def images_of(row: Row, copies: int) -> Int64[np.ndarray, "n 2"]:
    """Frame and copy of every image of a row."""
    if row.get("images") is not None:
        return np.asarray(row["images"], np.int64).reshape(-1, 2)
    own = row.get("frame_severity")
    length = row["num_frames"] if own is None else len(own)
    return np.stack(np.divmod(np.arange(length * copies), copies), axis=1)


def _markers(
    target: Int64[np.ndarray, "n"],
    clip: Int64[np.ndarray, "n"],
    number: int,
    batch: int,
    rng: np.random.Generator,
) -> Int64[np.ndarray, "m"]:
    """Places of frames by score, then by clip, each clip's frames in turn until none is left.

    A score that no frame has leaves its place to the others.
    """
    members = {
        (int(score), int(c)): np.flatnonzero((target == score) & (clip == c))
        for score, c in np.unique(np.stack([target, clip], axis=1), axis=0)
    }
    unused = {key: rng.permutation(places).tolist() for key, places in members.items()}
    chosen: list[int] = []
    while len(chosen) < number:
        scores = [int(s) for s in rng.permutation(MARKERS) if any(k[0] == s for k in members)]
        for score in (scores * batch)[:batch]:
            keys = [key for key in members if key[0] == score]
            left = np.array([len(unused[key]) for key in keys])
            full = 1 + EACH_UNUSED * (np.minimum(left, MOST_UNUSED) - 1)
            weight = np.where(left > 0, full, EXHAUSTED)
            key = keys[rng.choice(len(keys), p=weight / weight.sum())]
            if not unused[key]:
                unused[key] = rng.permutation(members[key]).tolist()
            chosen.append(unused[key].pop())
    return np.array(chosen[:number])
