import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lus_ray.clip import MASK_SCHEMES
from lus_ray.metrics import classification, frames, multilabel, patient_counts, segmentation

NAMES = ("g: few", "g: many", "h: few", "h: many")
CLASSES = ("a", "b", "c")


def names(rng, num_clips=20):
    return [f"p{k}" for k in rng.integers(0, 5, num_clips)]


def classes(rng):
    patients, num_classes = names(rng), int(rng.integers(2, 6))
    target = rng.integers(0, num_classes, 20)
    probability = np.round(rng.dirichlet(np.ones(num_classes), 20), 1)
    counted = patient_counts.count_classes(patients, target, probability)
    return patients, counted, lambda rows: classification.score(target[rows], probability[rows])


def inherited(rng):
    patients, target, num_frames = names(rng), rng.integers(0, 3, 20), rng.integers(0, 6, (20, 3))
    probability = np.round(rng.dirichlet(np.ones(3), 20), 1)
    arrays = (target, probability, num_frames)
    counted = patient_counts.count_inherited(patients, *arrays, CLASSES)

    def score(rows):
        return frames.score_inherited(*(array[rows] for array in arrays), CLASSES)

    return patients, counted, score


def labels(rng):
    patients, target = names(rng), rng.integers(-1, 2, (20, 4))
    probability = np.round(rng.random((20, 4)), 1)
    counted = patient_counts.count_labels(patients, target, probability, NAMES)
    return patients, counted, lambda rows: multilabel.score(target[rows], probability[rows], NAMES)


def scored_frames(rng):
    lengths = rng.integers(1, 12, 8)
    severity = [np.sort(rng.integers(0, 4, length)).tolist() for length in lengths]
    raters = [rng.integers(0, 2, 5).tolist() if rng.random() < 0.8 else None for _ in lengths]
    patients, clip = names(rng, 8), np.repeat(np.arange(8), lengths)
    target = np.concatenate(severity)
    probability = np.round(rng.dirichlet(np.ones(4), len(target)), 1)
    kept = frames.select_frames(severity, raters)
    counted = patient_counts.count_frames([patients[c] for c in clip], target, probability, kept)

    def score(rows):
        drawn = np.concatenate([np.zeros(0, int), *(np.flatnonzero(clip == c) for c in rows)])
        kept = frames.select_frames([severity[c] for c in rows], [raters[c] for c in rows])
        return frames.score(target[drawn], probability[drawn], kept)

    return patients, counted, score


def pixels(rng):
    scheme = rng.choice(list(MASK_SCHEMES))
    patients, num_classes = names(rng, 10), len(MASK_SCHEMES[scheme])
    counts = rng.integers(0, 9, (10, num_classes, num_classes))
    counts *= rng.random(counts.shape) < rng.random((10, 1, 1))  # some images lack classes
    counted = patient_counts.count_pixels(patients, counts, scheme)
    return patients, counted, lambda rows: segmentation.score(counts[rows], scheme)


@pytest.mark.parametrize("kind", [classes, inherited, labels, scored_frames, pixels])
@given(seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=15)
def test_weights_equal_repeated_clips(kind, seed):
    rng = np.random.default_rng(seed)
    patients, counted, score = kind(rng)
    assert isinstance(counted, patient_counts.PatientCounts)
    weights = rng.integers(0, 3, (3, len(counted.patients))).astype(float)
    metrics = counted.metrics(weights)
    for draw in range(3):
        times = dict(zip(counted.patients, weights[draw].astype(int), strict=True))
        rows = np.repeat(np.arange(len(patients)), [times[name] for name in patients])
        expected = score(rows).values
        assert {m: metrics[m][draw] for m in expected} == pytest.approx(expected, nan_ok=True)


def test_a_patient_for_every_image_is_needed():
    with pytest.raises(ValueError, match="patients of 1 images and counts of 2"):
        patient_counts.count_pixels(["a"], np.zeros((2, 2, 2)), "bline")


def test_frames_that_cannot_be_scored_are_undefined_in_every_draw():
    kept = frames.select_frames([[0, 1]], [None])
    probability = np.array([[2.0, 0.0], [0.0, 1.0]])
    counted = patient_counts.count_frames(["a", "a"], np.array([0, 1]), probability, kept)
    assert all(np.isnan(values).all() for values in counted.metrics(np.ones((2, 1))).values())
