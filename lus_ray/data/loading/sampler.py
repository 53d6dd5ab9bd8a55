"""Sample the order of an epoch: which clip or frame comes when, before any pixel is read.

Why: the same order gives the same batches from memory or Parquet, on one worker or on several.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from lus_ray.clip import Row
from lus_ray.data.labels import class_index, oversample
from lus_ray.data.transforms.augment_gare2021 import SIX_COPIES
from lus_ray.data.transforms.view import View
from lus_ray.errors import ArmError

MARKERS = (0, 0, 0, 1, 2, 3) * 6
"""Scores of a batch of frames, shuffled and cut to its size (Roy 2020, segmentation)."""

MOST_UNUSED, EACH_UNUSED, EXHAUSTED = 50, 0.2, 0.8
"""A clip with n unused frames is chosen in proportion to 1 + 0.2 (min(n, 50) - 1), one without
any in proportion to 0.8."""


MIN_WINDOW = 16
"""The fewest clips from which single frames are mixed."""


@dataclass(frozen=True)
class SampleSpec:
    """One sample of a batch: its row, and the seed of its random start, or its one frame.

    `copy` is a copy number of Gare 2021.
    """

    row: int
    seed: int
    frame: int | None = None
    copy: int = 0


def sample_epoch(
    rows: Sequence[Row],
    *,
    batch: int,
    seed: int,
    epoch: int,
    balance: str | None = None,
    by_frame: bool = False,
    num_samples: int = 0,
    copies: int = 1,
    classes: Sequence[str] = (),
    window: int = 0,
    rank: int = 0,
    workers: int = 1,
) -> list[list[SampleSpec]]:
    """The batches of one epoch: every row once; with `balance`, every class equally often.

    `balance` names a label whose smaller classes are repeated up to the largest; `classes` are
    those of a label that is not built in. With
    `by_frame` the samples are single frames, `num_samples` of them (0: as many as there are).
    Without `balance` each comes once before any comes again. With it, frames are sampled with
    replacement in proportion to one over the frames of their class (Roy 2020), or as `markers`
    does. An incomplete last batch of frames is dropped. Frames come in `copies`, unless a row
    lists its `images` (frame, copy). With a `window` above 0 and below the number of clips, the
    same frames come in an order that has about this many clips open at a time; with `balance`, the
    score at each place stays the same. Worker `rank` of `workers` gets its equal share of each
    batch; a last batch that would leave a worker idle is dropped.

    Raises:
        ArmError: `batch`, `copies` or `balance` cannot be used with these rows.
    """
    rng = np.random.default_rng([seed, epoch])
    if batch < 1:
        raise ArmError(f"a batch of {batch}; set arm.recipe.batch to 1 or more")
    if not 1 <= copies <= len(SIX_COPIES):
        raise ArmError(f"{copies} copies; set arm.recipe.copies from 1 to {len(SIX_COPIES)}")
    if by_frame:
        specs = _sample_frames(rows, balance, num_samples, copies, batch, rng)
        specs = specs[: len(specs) // batch * batch] or specs
        if 0 < window < len(rows):
            order = np.random.default_rng([seed, epoch, window])
            specs = _open_in_turn(specs, rows, window, order, keep_scores=balance is not None)
    else:
        chosen = np.arange(len(rows))
        if balance is not None:
            chosen = oversample(np.array([class_index(balance, row, classes) for row in rows]), rng)
        chosen = rng.permutation(chosen)
        seeds = rng.integers(0, 2**31, len(chosen))
        specs = [SampleSpec(int(row), int(s)) for row, s in zip(chosen, seeds, strict=True)]
    batches = [specs[i : i + batch] for i in range(0, len(specs), batch)]
    if workers == 1:
        return batches
    shares = [part[: len(part) // workers * workers][rank::workers] for part in batches]
    return [share for share in shares if share]


def _open_in_turn(
    specs: Sequence[SampleSpec],
    rows: Sequence[Row],
    window: int,
    rng: np.random.Generator,
    *,
    keep_scores: bool,
) -> list[SampleSpec]:
    """The same samples, clip after clip in random order, mixed with those of `window` clips.

    A sample stands at the place of its clip plus a random part of the window, so that a clip is
    opened once, and the first batch needs a few clips only. With `keep_scores` the scores of the
    frames stay where they are. Why: where 10 of 200 clips have the rarest of four scores, its share
    of a batch of 32 has a standard deviation of 0.08, as in a full shuffle. By their places alone
    it had 0.21 with 16 clips in the window, and a third of the batches lacked the score. A stream
    holds the frames of 28 such clips for it, instead of 16.
    """
    clips = np.array([spec.row for spec in specs])
    place = rng.permutation(len(rows))[clips] + window * rng.random(len(specs))
    if not keep_scores:
        return [specs[i] for i in np.argsort(place, kind="stable").tolist()]
    scores = np.array([rows[spec.row]["frame_severity"][spec.frame] for spec in specs])
    order = np.arange(len(specs))
    for score in np.unique(scores):
        members = np.flatnonzero(scores == score)
        order[members] = members[np.argsort(place[members], kind="stable")]
    return [specs[i] for i in order.tolist()]


def count_window(rows: Sequence[Row], view: View, gigabytes: float) -> int:
    """How many of these clips hold so many GB of frames at the view's size; 0 for all.

    It depends on the clips and the view alone, so that a seed gives the same order everywhere.
    """
    if not gigabytes:
        return 0
    frames = count_images(rows) / max(1, len(rows))
    return max(MIN_WINDOW, round(gigabytes * 1e9 / max(1.0, frames * view.height * view.width)))


def count_images(rows: Sequence[Row], copies: int = 1) -> int:
    """The number of single frames of these rows, copies included."""
    return sum(len(images_of(row, copies)) for row in rows)


def images_of(row: Row, copies: int) -> Int64[np.ndarray, "n 2"]:
    """Frame and copy of every image of a row."""
    if row.get("images") is not None:
        return np.asarray(row["images"], np.int64).reshape(-1, 2)
    scores = row.get("frame_severity")
    length = row["num_frames"] if scores is None else len(scores)
    return np.stack(np.divmod(np.arange(length * copies), copies), axis=1)


def _sample_frames(
    rows: Sequence[Row],
    balance: str | None,
    num_samples: int,
    copies: int,
    batch: int,
    rng: np.random.Generator,
) -> list[SampleSpec]:
    if balance not in (None, "frame_severity", "markers"):
        raise ArmError(
            f"frames cannot be balanced by {balance!r}; use 'frame_severity', 'markers' or null"
        )
    for row in rows:
        if balance is not None and row["frame_severity"] is None:
            raise ArmError(
                f"{row['clip']}: no frame_severity to balance by; add the scores of its frames or "
                "set arm.recipe.oversample to null"
            )
    lists = [images_of(row, copies) for row in rows]
    row_of = np.repeat(np.arange(len(rows)), [len(images) for images in lists])
    images = np.concatenate(lists)
    number = num_samples or len(images)
    if balance is None:
        rounds = -(-number // len(images))
        chosen = np.concatenate([rng.permutation(len(images)) for _ in range(rounds)])[:number]
    else:
        target = np.concatenate(
            [np.asarray(r["frame_severity"])[i[:, 0]] for r, i in zip(rows, lists, strict=True)]
        )
        if balance == "markers":
            chosen = _sample_markers(target, row_of, number, batch, rng)
        else:
            _, inverse, counts = np.unique(target, return_inverse=True, return_counts=True)
            weight = 1.0 / counts[inverse]
            chosen = rng.choice(len(images), number, p=weight / weight.sum())
    return [SampleSpec(int(row_of[i]), 0, int(images[i][0]), int(images[i][1])) for i in chosen]


def _sample_markers(
    target: Int64[np.ndarray, "n"],
    clip: Int64[np.ndarray, "n"],
    number: int,
    batch: int,
    rng: np.random.Generator,
) -> Int64[np.ndarray, "m"]:
    """Frame indices by score, then by clip; the frames of a clip in turn until all are used.

    Where no frame has a score, the other scores take its share.
    """
    members = {
        (int(score), int(c)): np.flatnonzero((target == score) & (clip == c))
        for score, c in np.unique(np.stack([target, clip], axis=1), axis=0)
    }
    unused = {key: rng.permutation(frames).tolist() for key, frames in members.items()}
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
