from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from lus_ray.metrics import classification, frames


@st.composite
def rated_clips(draw):
    """Frame scores of up to six clips, some of which five raters have scored."""
    clip = st.lists(st.integers(0, 3), min_size=1, max_size=25)
    severity = draw(st.lists(clip, min_size=1, max_size=6))
    five = st.lists(st.integers(0, 3), min_size=5, max_size=5)
    return severity, [draw(st.none() | five) for _ in severity]


def score(target, probability, severity):
    """Scores of the frames of clips that nobody rated."""
    chosen = frames.select_frames(severity, [None] * len(severity))
    return frames.score(np.array(target), probability, chosen)


@given(rated_clips())
@settings(deadline=None, max_examples=40)
def test_settings_keep_frames_by_changes_and_votes(clips):
    expected = {name: [] for name in frames.SETTINGS}
    for severity, raters in zip(*clips, strict=True):
        length, votes = len(severity), max(Counter(raters).values()) if raters else 0
        changes = [t for t in range(1, length) if severity[t - 1] != severity[t]]
        for reach in (1, 3, 5, 7):
            dropped = {t for c in changes for t in range(c - reach, c + reach)}
            expected[f"k{reach}"] += [t not in dropped for t in range(length)]
        expected["setting_1"] += [True] * length
        expected["video_annotated"] += [raters is not None] * length
        expected["a3"] += [votes >= 3] * length
        expected["a4"] += [votes >= 4] * length
    selection = frames.select_frames(*clips)
    assert selection.kept.tolist() == list(expected.values())
    assert set(selection.undefined) == {name for name, row in expected.items() if not any(row)}


UNEQUAL = "clip 1 has 5 raters and clip 2 has 4"


@pytest.mark.parametrize(
    ("severity", "raters", "undefined"),
    [
        ([[0], [0], [0]], [None, [0] * 5, [0] * 4], {"a3": UNEQUAL, "a4": UNEQUAL}),
        ([[0], [0]], [[], [0, 0, 0, 1]], {"a4": "no clip has 4 raters who agree"}),
        (
            [[0, 1]],
            [None],
            {f"k{reach}": f"every frame is within {reach} of a change" for reach in (1, 3, 5, 7)}
            | dict.fromkeys(("video_annotated", "a3", "a4"), "no clip has raters"),
        ),
    ],
)
def test_a_setting_without_frames_has_the_reason(severity, raters, undefined):
    reasons = frames.select_frames(severity, raters).undefined
    assert set(reasons) == set(undefined)
    assert all(reasons[name].startswith(reason) for name, reason in undefined.items())


def test_no_clips_leave_every_setting_undefined():
    assert set(frames.select_frames([], []).undefined) == set(frames.SETTINGS)
    scores = score(np.zeros(0, int), np.zeros((0, 4)), [])
    assert scores.undefined == dict.fromkeys(frames.METRICS, "no frame was tested")


@given(rated_clips(), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=20)
@pytest.mark.filterwarnings("ignore")
def test_every_metric_equals_scikit_learn_or_is_undefined(clips, seed):
    target, chosen = np.concatenate(clips[0]), frames.select_frames(*clips)
    probability = np.random.default_rng(seed).integers(0, 4, (len(target), 4)) / 4  # often tied
    predicted = probability.argmax(axis=1)
    scores = frames.score(target, probability, chosen)
    expected = {
        name: oracle.f1_score(target[row], predicted[row], average="micro") if row.any() else np.nan
        for name, row in zip(frames.SETTINGS, chosen.kept, strict=True)
    }
    expected |= {
        "average": np.mean([expected[name] for name in frames.SETTINGS]),
        "accuracy": oracle.accuracy_score(target, predicted),
        "f1": oracle.f1_score(target, predicted, average="weighted"),
        "macro_f1": oracle.f1_score(target, predicted, average="macro"),
        "weighted_kappa": oracle.cohen_kappa_score(
            target, predicted, weights="quadratic", labels=range(4)
        ),
        "recall_score_3": oracle.recall_score(
            target, predicted, labels=[3], average="macro", zero_division=np.nan
        ),
    }
    assert scores.values == pytest.approx(expected, abs=1e-12, nan_ok=True)
    assert {name for name, value in scores.values.items() if np.isnan(value)} == set(
        scores.undefined
    )


def test_an_undefined_average_and_kappa_have_a_reason():
    chosen = frames.select_frames([[0, 0]], [[0, 0, 0, 1]])
    reasons = frames.score(np.zeros(2, int), np.eye(4)[[0, 0]], chosen).undefined
    assert reasons["average"] == "the mean needs all eight settings; undefined: a4"
    assert reasons["weighted_kappa"].startswith("all targets and predictions are of one")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.nan, "that is not a number"),
        (np.inf, "that is not a number"),
        (1.5, "outside 0 to 1"),
        (-0.1, "outside 0 to 1"),
    ],
)
def test_a_bad_probability_leaves_every_metric_undefined(value, reason):
    scores = score([0, 1], np.array([[value, 0.5], [0.5, 0.5]]), [[0, 1]])
    assert np.isnan(list(scores.values.values())).all()
    reason = f"1 of 2 frames have a probability {reason}"
    assert scores.undefined == dict.fromkeys(frames.METRICS, reason)


def test_a_probability_a_rounding_above_one_is_one():
    assert score([0, 1], np.array([[1 + 1e-7, 0], [0, 1.0]]), [[0, 1]])["accuracy"] == 1


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: frames.select_frames([[0], []], [None, None]), r"clip 1 .* has no frames"),
        (lambda: frames.select_frames([[0]], [None] * 2), "frames of 1 clips and raters of 2"),
        (lambda: frames.FrameSelection(np.arange(8)[:, None] < 7), r"empty are \['a4'\], undef"),
        (lambda: frames.FrameSelection(np.ones((3, 2), bool)), "rows for 8 settings"),
        (lambda: score([0, 0], np.eye(2), [[0, 0, 0]]), "settings of 3 frames for 2 targets"),
        (lambda: score([0, 4], np.eye(2), [[0, 4]]), r"0\.\.4 for 2 classes"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


CLASSES = ("healthy", "other", "COVID-19 pneumonia")


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=20)
def test_frames_are_scored_as_scikit_learn_does_and_clips_as_they_are_alone(seed):
    rng = np.random.default_rng(seed)
    target, probability = rng.integers(0, 3, 9), rng.dirichlet(np.ones(3), 9)
    frame_counts = rng.integers([1, 0, 0], [5, 4, 4], (9, 3))
    scores = frames.score_inherited(target, probability, frame_counts, CLASSES)
    clip, predicted = np.indices(frame_counts.shape).reshape(2, -1).repeat(frame_counts.ravel(), 1)
    true = target[clip]
    assert scores["frame_accuracy"] == pytest.approx(oracle.accuracy_score(true, predicted))
    macro = oracle.f1_score(true, predicted, average="macro")
    assert scores["frame_macro_f1"] == pytest.approx(macro)
    by_class = oracle.precision_recall_fscore_support(
        true, predicted, labels=range(3), zero_division=np.nan
    )
    for metric, values in zip(frames.INHERITED_CLASS_METRICS, by_class, strict=False):
        own = [scores[f"{metric} {name}"] for name in CLASSES]
        assert own == pytest.approx(values.tolist(), nan_ok=True), metric
    clips = classification.score(target, probability).values
    assert {name: scores[name] for name in clips} == pytest.approx(clips, nan_ok=True)
    assert set(scores.values) == {*clips, *frames.inherited_metrics(CLASSES)}


def test_a_class_that_is_not_there_is_undefined_with_its_reason():
    target, probability = np.array([0, 1]), np.array([[0.8, 0.2, 0], [0.2, 0.8, 0]])
    frame_counts = np.array([[3, 1, 0], [2, 2, 0]])
    scores = frames.score_inherited(target, probability, frame_counts, CLASSES)
    assert scores.undefined == {
        "frame_precision COVID-19 pneumonia": "no frame was predicted as COVID-19 pneumonia",
        "frame_recall COVID-19 pneumonia": "no frame is COVID-19 pneumonia",
        "frame_f1 COVID-19 pneumonia": "no frame is COVID-19 pneumonia or was predicted as such",
    }
    probability[0] = np.nan
    scores = frames.score_inherited(target, probability, frame_counts, CLASSES)
    assert set(scores.undefined) == set(scores.values)
