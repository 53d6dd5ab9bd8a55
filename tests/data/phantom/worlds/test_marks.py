"""The world of marks: its masks and scores are true, and spots tell patients apart."""

import numpy as np
import pytest

from lus_ray.clip import make_row
from lus_ray.data.phantom.worlds import marks
from lus_ray.errors import InputError


def make(**options):
    options = {"patients": 8, "frames": 30, **options}
    return [maker() for maker in marks.clips(**options).values()]


@pytest.mark.parametrize("spread", [False, True])
def test_the_grey_inside_the_mask_rises_with_the_score(spread):
    by_score = {score: [] for score in range(4)}
    for clip in make(spread=spread):
        (score,) = set(clip["frame_severity"])
        assert set(np.unique(clip["masks"])) <= {0, score + 1}
        by_score[score].append(clip["frames"][clip["masks"] > 0].mean())
    means = [np.mean(values) for values in by_score.values()]
    assert np.diff(means).min() > 2


def test_most_marks_reach_over_the_edge_of_the_first_crop():
    left = 0.3 - 0.6225
    starts = []
    for clip in make():
        columns = [np.nonzero(mask.any(axis=0))[0].min() for mask in clip["masks"]]
        starts += [column / clip["masks"].shape[2] * 2 - 1 for column in columns]
    assert np.mean(np.array(starts) < left) > 0.5
    assert min(starts) > -0.6


def test_spots_at_the_top_are_those_of_a_patient_and_the_twin_has_none():
    tops = [clip["frames"][:, :6].astype(float) for clip in make()]
    mean = np.stack([top.mean(axis=0) for top in tops])
    halves = [np.corrcoef(t[::2].mean(0).ravel(), t[1::2].mean(0).ravel())[0, 1] for t in tops]
    assert min(halves) > 0.5
    assert np.corrcoef(mean[0].ravel(), mean[4].ravel())[0, 1] < 0.5
    assert max(clip["frames"][:, :6].mean(axis=0).std() for clip in make(spread=True)) < 20


def test_clips_are_rows_and_a_seed_gives_the_same_bytes():
    first, again, other = (make(patients=1, seed=seed) for seed in (0, 0, 1))
    row = make_row(**first[0], clip="control/c", patient="control/p", source="control")
    assert (row["height"], row["width"], len(row["frames"])) == (48, 48, 30)
    assert all(np.array_equal(a["frames"], b["frames"]) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0]["frames"], other[0]["frames"])


def test_a_size_below_that_of_the_networks_is_refused():
    with pytest.raises(InputError, match="world marks: --size is 31; use 32 or more"):
        marks.clips(size=31)
