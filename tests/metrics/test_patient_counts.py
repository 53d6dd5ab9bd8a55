"""Reweighting patients gives what scoring the repeated clips gives."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lus_ray.clip import MASK_SCHEMES
from lus_ray.metrics import (
    classification,
    frames,
    multilabel,
    patient_counts,
    segmentation,
)

NAMES = ("g: few", "g: many", "h: few", "h: many")


def repeated(
    patients: list[str], tallied: patient_counts.PatientCounts, weights: np.ndarray
) -> np.ndarray:
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
    tallied = patient_counts.count_classes(patients, target, probability)
    weights = rng.integers(0, 3, (4, len(tallied.patients))).astype(float)
    found = tallied.metrics(weights)
    for draw in range(4):
        rows = repeated(patients, tallied, weights[draw])
        expected = classification.score(target[rows], probability[rows]).values
        assert {m: found[m][draw] for m in classification.METRICS} == pytest.approx(
            expected, nan_ok=True
        )


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=40)
def test_weights_equal_repeated_clips_where_frames_inherit_their_class(seed: int) -> None:
    rng = np.random.default_rng(seed)
    patients = [f"p{k}" for k in rng.integers(0, 5, 20)]
    target, said = rng.integers(0, 3, 20), rng.integers(0, 6, (20, 3))
    probability = np.round(rng.dirichlet(np.ones(3), 20), 1)
    tallied = patient_counts.count_inherited(patients, target, probability, said, ("a", "b", "c"))
    weights = rng.integers(0, 3, (4, len(tallied.patients))).astype(float)
    weights[0] = 1.0
    found = tallied.metrics(weights)
    for draw in range(4):
        rows = repeated(patients, tallied, weights[draw])
        known = (target[rows], probability[rows], said[rows])
        expected = frames.score_inherited(*known, ("a", "b", "c")).values
        assert set(found) == set(expected)
        assert {m: found[m][draw] for m in expected} == pytest.approx(expected, nan_ok=True)


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=40)
def test_weights_equal_repeated_clips_for_yes_no_labels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    patients = [f"p{k}" for k in rng.integers(0, 5, 20)]
    target = rng.integers(-1, 2, (20, 4))
    probability = np.round(rng.random((20, 4)), 1)
    tallied = patient_counts.count_labels(patients, target, probability, NAMES)
    weights = rng.integers(0, 3, (4, len(tallied.patients))).astype(float)
    found = tallied.metrics(weights)
    for draw in range(4):
        rows = repeated(patients, tallied, weights[draw])
        expected = multilabel.score(target[rows], probability[rows], NAMES).values
        assert {m: found[m][draw] for m in multilabel.METRICS} == pytest.approx(
            expected, nan_ok=True
        )


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=40)
def test_weights_equal_repeated_clips_for_frames(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 12, 8)
    severity = [np.sort(rng.integers(0, 4, length)).tolist() for length in lengths]
    raters = [rng.integers(0, 2, 5).tolist() if rng.random() < 0.8 else None for _ in lengths]
    patients = [f"p{k}" for k in rng.integers(0, 4, len(lengths))]
    clip_of_frame = np.repeat(np.arange(len(lengths)), lengths)
    target = np.concatenate(severity)
    probability = np.round(rng.dirichlet(np.ones(4), len(target)), 1)
    tallied = patient_counts.count_frames(
        [patients[clip] for clip in clip_of_frame],
        target,
        probability,
        frames.select_frames(severity, raters),
    )
    weights = rng.integers(0, 3, (4, len(tallied.patients))).astype(float)
    found = tallied.metrics(weights)
    for draw in range(4):
        clips = repeated(patients, tallied, weights[draw])
        drawn = np.concatenate(
            [np.zeros(0, int), *(np.flatnonzero(clip_of_frame == clip) for clip in clips)]
        )
        chosen = frames.select_frames([severity[c] for c in clips], [raters[c] for c in clips])
        expected = frames.score(target[drawn], probability[drawn], chosen).values
        assert {m: found[m][draw] for m in frames.METRICS} == pytest.approx(expected, nan_ok=True)


@given(st.integers(0, 2**32 - 1), st.sampled_from(list(MASK_SCHEMES)))
@settings(deadline=None, max_examples=60)
def test_weights_equal_repeated_images_for_pixels(seed: int, scheme: str) -> None:
    rng = np.random.default_rng(seed)
    num_classes = len(MASK_SCHEMES[scheme])
    patients = [f"p{k}" for k in rng.integers(0, 4, 10)]
    counts = rng.integers(0, 9, (10, num_classes, num_classes))
    counts *= rng.random(counts.shape) < rng.random((10, 1, 1))  # some images lack classes
    tallied = patient_counts.count_pixels(patients, counts, scheme)
    weights = rng.integers(0, 3, (4, len(tallied.patients))).astype(float)
    found = tallied.metrics(weights)
    for draw in range(4):
        rows = repeated(patients, tallied, weights[draw])
        expected = segmentation.score(counts[rows], scheme).values
        assert {m: found[m][draw] for m in expected} == pytest.approx(expected, nan_ok=True)


def test_an_image_counts_as_often_as_its_patient_is_drawn() -> None:
    hit, miss = np.diag([0, 4]), np.array([[0, 0], [4, 0]])
    tallied = patient_counts.count_pixels(["a", "b"], np.stack([hit, miss]), "bline")
    found = tallied.metrics(np.array([[1.0, 1.0], [3.0, 1.0], [2.0, 0.0]]))
    assert found["sensitivity_per_image"].tolist() == [0.5, 0.75, 1.0]
    assert np.isnan(found["specificity"]).all()


def test_a_patient_for_every_image_is_needed() -> None:
    with pytest.raises(ValueError, match="patients of 1 images and counts of 2"):
        patient_counts.count_pixels(["a"], np.zeros((2, 2, 2)), "bline")


def test_a_setting_without_frames_is_undefined_in_every_draw() -> None:
    chosen = frames.select_frames([[0, 0], [1, 1]], [[0, 0], [1, 1, 1]])
    tallied = patient_counts.count_frames(
        ["a", "a", "b", "b"], np.array([0, 0, 1, 1]), np.eye(2)[[0, 1, 0, 1]], chosen
    )
    found = tallied.metrics(np.ones((3, 2)))
    assert np.isnan([found[name] for name in ("a3", "a4", "average")]).all()
    assert found["video_annotated"].tolist() == [0.5] * 3


def test_frames_that_cannot_be_scored_are_undefined_in_every_draw() -> None:
    chosen = frames.select_frames([[0, 1]], [None])
    probability = np.array([[2.0, 0.0], [0.0, 1.0]])
    found = patient_counts.count_frames(["a", "a"], np.array([0, 1]), probability, chosen).metrics(
        np.ones((2, 1))
    )
    assert all(np.isnan(found[name]).all() for name in frames.METRICS)


def test_counted_frames_and_pixels_are_tallies() -> None:
    chosen = frames.select_frames([[0, 1]], [None])
    assert isinstance(
        patient_counts.count_frames(["a", "a"], np.array([0, 1]), np.eye(2), chosen),
        patient_counts.PatientCounts,
    )
    assert isinstance(
        patient_counts.count_pixels(["a"], np.zeros((1, 2, 2)), "bline"),
        patient_counts.PatientCounts,
    )
