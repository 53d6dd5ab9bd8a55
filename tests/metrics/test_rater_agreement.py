from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from lus_ray.metrics import rater_agreement


@st.composite
def tables(draw):
    """Scores 0-3 of one to fifteen clips by two to six raters, often in agreement."""
    num_clips, num_raters = draw(st.integers(1, 15)), draw(st.integers(2, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shared, own = rng.integers(0, 4, (num_clips, 1)), rng.integers(0, 4, (num_clips, num_raters))
    return np.where(rng.random(own.shape) < draw(st.sampled_from([0, 0.7, 1])), shared, own)


def test_three_raters_of_two_clips_by_hand():
    agreement = rater_agreement.measure_agreement(np.array([[0, 0, 1], [2, 2, 2]]))
    assert (agreement.num_clips, agreement.num_raters) == (2, 3)
    # the mean of 0 and 1 rounds up to 1: raters one and two miss it, and so does rater three
    assert agreement.one_against_others.accuracy.tolist() == [0.5, 0.5, 0.5]
    assert agreement.one_against_others.difference.tolist() == [0.25, 0.25, 0.5]
    assert agreement.pairwise == pytest.approx((1 / 3 + 1) / 2)
    assert agreement.modal.tolist() == [1, 1, 0.5]
    assert agreement.mode_ties == 0


@given(tables())
@settings(deadline=None, max_examples=40)
def test_pairs_and_modes_equal_counting(table):
    agreement = rater_agreement.measure_agreement(table)
    pairs = [np.mean(table[:, a] == table[:, b]) for a, b in combinations(range(table.shape[1]), 2)]
    assert agreement.pairwise == pytest.approx(np.mean(pairs))
    votes = [Counter(clip) for clip in table.tolist()]
    most = np.array([max(counts.values()) for counts in votes])
    assert rater_agreement.count_mode_votes(table).tolist() == most.tolist()
    assert agreement.modal == pytest.approx([np.mean(most >= a + 1) for a in range(table.shape[1])])
    ties = [list(c.values()).count(m) > 1 for c, m in zip(votes, most, strict=True)]
    assert agreement.mode_ties == pytest.approx(np.mean(ties))


@given(tables())
@settings(deadline=None, max_examples=20)
def test_one_against_others_equals_scikit_learn(table):
    agreement = rater_agreement.measure_agreement(table).one_against_others
    for rater in range(table.shape[1]):
        own, others = table[:, rater], np.delete(table, rater, axis=1)
        rounded = [(2 * int(clip.sum()) + len(clip)) // (2 * len(clip)) for clip in others]
        assert agreement.accuracy[rater] == pytest.approx(oracle.accuracy_score(rounded, own))
        assert agreement.difference[rater] == pytest.approx(
            oracle.mean_absolute_error(others.mean(axis=1), own)
        )
        kappa = np.nan
        if len({*own, *rounded}) > 1:
            kappa = oracle.cohen_kappa_score(own, rounded, weights="quadratic", labels=range(4))
        assert agreement.weighted_kappa[rater] == pytest.approx(kappa, nan_ok=True)


def test_small_integers_do_not_overflow_and_one_score_alone_has_no_kappa():
    table = np.full((1, 50), 3, np.int8)
    scores = rater_agreement.measure_agreement(table).one_against_others
    assert scores.accuracy.tolist() == [1] * 50
    assert np.isnan(scores.weighted_kappa).all()


def test_a_table_holds_the_clips_that_have_raters():
    assert rater_agreement.rater_table([None, [0, 1], [], [2, 3]]).tolist() == [[0, 1], [2, 3]]


@pytest.mark.parametrize(
    ("function", "raters", "message"),
    [
        ("measure_agreement", np.zeros((0, 5), int), "agreement needs two raters and a clip"),
        ("measure_agreement", np.zeros((3, 1), int), "agreement needs two raters and a clip"),
        ("measure_agreement", np.array([[0, -1]]), "a rater gave -1; scores start at 0"),
        ("count_mode_votes", np.zeros((0, 5), int), "a mode needs one of each"),
        ("count_mode_votes", np.zeros((3, 0), int), "a mode needs one of each"),
        ("rater_table", [None, [0, 1], [2, 3], [1]], r"clip 1 has 2 raters and clip 3 has 1 \(cl"),
        ("rater_table", [None, []], "no clip has raters"),
    ],
)
def test_raters_that_cannot_be_compared_are_refused(function, raters, message):
    with pytest.raises(ValueError, match=message):
        getattr(rater_agreement, function)(raters)
