"""The world of signs: its labels are true, and its signs can be seen."""

import numpy as np
import pytest

from lus_ray.clip import BIOMARKERS, make_row
from lus_ray.data.phantom.worlds import signs
from lus_ray.errors import InputError


def make(**options):
    return [maker() for maker in signs.clips(**{"patients": 200, **options}).values()]


@pytest.fixture(scope="module")
def clips():
    return make()


def present(clip, biomarker):
    return clip["biomarkers"][BIOMARKERS.index(biomarker)] == 1


def corner(clip):
    return round(3 * float(clip["frames"][:, :8, -8:].mean()) / 255)


def test_severity_counts_three_signs_and_ignores_the_corner(clips):
    counted = ("B-lines: some", "pleural break: 5-10 mm", "consolidation: > 10 mm")
    assert all(c["severity"] == sum(present(c, name) for name in counted) for c in clips)
    assert np.corrcoef([c["severity"] for c in clips], [corner(c) for c in clips])[0, 1] < 0.2
    assert min(np.bincount([c["severity"] for c in clips])) > 30


def test_in_the_twin_severity_is_the_corner_in_the_same_pictures(clips):
    twin = make(rule="corner")
    assert [c["severity"] for c in twin] == [corner(c) for c in twin]
    assert all(np.array_equal(a["frames"], b["frames"]) for a, b in zip(clips, twin, strict=True))


def test_effusions_darken_the_lowest_rows(clips):
    grey = {True: [], False: []}
    for clip in clips:
        grey[present(clip, "effusion: > 5 mm")].append(clip["frames"][:, -5:].mean())
    assert np.median(grey[True]) + 20 < np.median(grey[False])


def test_shuffled_clips_have_the_biomarkers_of_the_next_one(clips):
    shuffled = make(shuffled=True)
    own, moved = ([c["biomarkers"] for c in some] for some in (clips, shuffled))
    assert moved == own[1:] + own[:1]
    assert [c["severity"] for c in shuffled] == [c["severity"] for c in clips]


def test_clips_are_rows_and_a_share_of_them_is_graded(clips):
    row = make_row(**clips[0], clip="control/c", patient="control/p", source="control")
    assert (row["height"], row["width"], len(row["frames"])) == (32, 32, 2)
    assert sum(c["site"] == signs.GRADING for c in clips) == 10


@pytest.mark.parametrize("wrong", [{"rule": "side"}, {"size": 20}, {"size": 33}, {"graded": 0}])
def test_options_out_of_range_are_refused(wrong):
    with pytest.raises(InputError, match=f"world signs: --{next(iter(wrong))}"):
        signs.clips(**wrong)
