"""Reweighting patients gives what scoring the repeated clips gives."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lus_ray.metrics import labels, multilabel, tally

NAMES = ("g: few", "g: many", "h: few", "h: many")


def repeated(patients: list[str], tallied: tally.Tally, weights: np.ndarray) -> np.ndarray:
    """Row numbers of the clips, each as often as its patient was drawn."""
    times = dict(zip(tallied.patients, weights.astype(int), strict=True))
    return np.repeat(np.arange(len(patients)), [times[name] for name in patients])


@given(st.integers(0, 2**32 - 1), st.integers(2, 5))
@settings(deadline=None, max_examples=40)
def test_weights_equal_repeated_clips_for_classes(seed: int, num_classes: int) -> None:
    rng = np.random.default_rng(seed)
    patients = [f"p{k}" for k in rng.integers(0, 5, 20)]
    target = rng.integers(0, num_classes, 20)
    probability = np.round(rng.dirichlet(np.ones(num_classes), 20), 1)
    tallied = tally.classes(patients, target, probability)
    weights = rng.integers(0, 3, (4, len(tallied.patients))).astype(float)
    found = tallied.metrics(weights)
    for draw in range(4):
        rows = repeated(patients, tallied, weights[draw])
        expected = labels.score(target[rows], probability[rows]).values
        assert {m: found[m][draw] for m in labels.METRICS} == pytest.approx(expected, nan_ok=True)


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=40)
def test_weights_equal_repeated_clips_for_yes_no_labels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    patients = [f"p{k}" for k in rng.integers(0, 5, 20)]
    target = rng.integers(-1, 2, (20, 4))
    probability = np.round(rng.random((20, 4)), 1)
    tallied = tally.judged_labels(patients, target, probability, NAMES)
    weights = rng.integers(0, 3, (4, len(tallied.patients))).astype(float)
    found = tallied.metrics(weights)
    for draw in range(4):
        rows = repeated(patients, tallied, weights[draw])
        expected = multilabel.score(target[rows], probability[rows], NAMES).values
        assert {m: found[m][draw] for m in multilabel.METRICS} == pytest.approx(
            expected, nan_ok=True
        )
