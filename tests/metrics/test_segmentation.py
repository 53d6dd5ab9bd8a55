import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from lus_ray.clip import MASK_SCHEMES
from lus_ray.data.masks import DERIVED, convert_masks
from lus_ray.metrics import segmentation

seeds, schemes = st.integers(0, 2**32 - 1), st.sampled_from(list(MASK_SCHEMES))
random_masks = settings(deadline=None, max_examples=30)


def row(*classes):
    """One image of one row of pixels."""
    return np.array([[classes]], np.uint8)


def count(target, predicted, num_classes):
    return segmentation.count_pixels(row(*target), row(*predicted), num_classes=num_classes)[0]


def masks(seed, num_classes):
    """True and predicted masks of three images of 4 x 4 pixels, each with some of the classes."""
    rng = np.random.default_rng(seed)
    pair = np.zeros((2, 3, 4, 4), np.uint8)
    for mask in pair.reshape(-1, 4, 4):
        present = rng.permutation(num_classes)[: rng.integers(1, num_classes + 1)]
        mask[:] = rng.choice(present, (4, 4))
    return pair


def random_counts(seed, scheme):
    num_classes = len(MASK_SCHEMES[scheme])
    return segmentation.count_pixels(*masks(seed, num_classes), num_classes=num_classes)


@given(seeds, st.integers(2, 5))
@settings(deadline=None, max_examples=12)
def test_counts_and_dice_of_each_image_are_those_of_scikit_learn(seed, num_classes):
    pair, labels = masks(seed, num_classes), range(num_classes)
    counts = segmentation.count_pixels(*pair, num_classes=num_classes)
    dice, iou = segmentation.dice(counts), segmentation.iou(counts)
    for image in range(3):
        flat = (pair[0, image].ravel(), pair[1, image].ravel())
        assert np.array_equal(counts[image], oracle.confusion_matrix(*flat, labels=labels))
        expected = oracle.f1_score(*flat, labels=labels, average=None, zero_division=np.nan)
        np.testing.assert_allclose(dice[image], expected)
    np.testing.assert_allclose(iou, dice / (2 - dice))
    np.testing.assert_allclose(segmentation.mean_of_defined(iou), np.nanmean(iou, axis=1))


@pytest.mark.parametrize(
    ("target", "predicted", "sensitivity", "specificity"),
    [
        ((1, 1, 1, 0), (0, 1, 1, 0), 2 / 3, 1.0),
        ((1, 0, 0, 0), (1, 1, 0, 0), 1.0, 2 / 3),
        ((0, 0), (0, 1), np.nan, 0.5),
        ((1, 1), (0, 1), 0.5, np.nan),
    ],
)
def test_sensitivity_needs_true_pixels_and_specificity_needs_others(
    target, predicted, sensitivity, specificity
):
    counts = count(target, predicted, 2)
    assert segmentation.sensitivity(counts) == pytest.approx(sensitivity, nan_ok=True)
    assert segmentation.specificity(counts) == pytest.approx(specificity, nan_ok=True)


def test_the_last_of_256_classes_is_counted_and_no_images_have_no_counts():
    assert np.argwhere(count((255, 254), (255, 255), 256)).tolist() == [[254, 255], [255, 255]]
    empty = np.zeros((0, 4, 4), np.uint8)
    assert segmentation.count_pixels(empty, empty, num_classes=3).shape == (0, 3, 3)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("target", "predicted", "message"),
    [
        (row(0, 1), row(0, 1, 1), r"true masks \(1, 1, 2\) and predicted masks \(1, 1, 3\)"),
        (row(0)[0], row(0)[0], r"true masks \(1, 1\)"),
        (row(0, 2), row(0, 1), "true masks hold class 2 of 2 classes"),
        (row(0, 1), row(255, 1), "predicted masks hold class 255 of 2 classes"),
        (row(0, 1).astype(np.int64) - 1, row(0, 1), "true masks are int64; class ids are uint8"),
        (row(0, 1), row(0, 1).astype(np.float32), "predicted masks are float32"),
    ],
)
def test_masks_that_cannot_be_counted_are_refused(target, predicted, message):
    with pytest.raises(ValueError, match=message):
        segmentation.count_pixels(target, predicted, num_classes=2)


@pytest.mark.parametrize(
    ("function", "counts", "argument", "message"),
    [
        (segmentation.merge_classes, np.zeros((3, 3)), (0, 1), "for 3 classes"),
        (segmentation.merge_classes, np.zeros((3, 3)), (0, 1, -1), "for 3 classes"),
        (segmentation.merge_classes, np.zeros((3, 3)), (), "for 3 classes"),
        (segmentation.score, np.zeros((1, 2, 2)), "cheese", "no mask scheme 'cheese'; use"),
        (segmentation.score, np.zeros((1, 7, 7)), "sparse", "for the 4 classes of 'sparse'"),
    ],
)
def test_counts_that_do_not_fit_are_refused(function, counts, argument, message):
    with pytest.raises(ValueError, match=message):
        function(counts, argument)


def test_within_a_union_one_class_may_stand_for_another():
    counts = count((2, 3, 4, 0), (3, 4, 2, 0), 5)
    assert segmentation.union_dice(counts, (2, 3, 4)) == 1
    assert not segmentation.dice(counts)[2:].any()


def test_the_published_dice_are_those_of_scores_1_to_3_and_of_0_2_and_3():
    for classes, scores in ((segmentation.UNION, (1, 2, 3)), (segmentation.CATEGORICAL, (0, 2, 3))):
        assert [segmentation.MARKERS[k] for k in classes] == [f"score {score}" for score in scores]


@given(seeds, st.sampled_from(sorted(DERIVED)))
@random_masks
def test_merged_counts_equal_counts_of_converted_masks(seed, pair):
    many, few = (len(MASK_SCHEMES[scheme]) for scheme in pair)
    both = masks(seed, many)
    converted = (convert_masks(mask, *pair) for mask in both)
    mapping = convert_masks(np.arange(many, dtype=np.uint8), *pair).tolist()
    merged = segmentation.merge_classes(segmentation.count_pixels(*both, num_classes=many), mapping)
    assert np.array_equal(merged, segmentation.count_pixels(*converted, num_classes=few))


@given(seeds, schemes)
@random_masks
def test_metrics_of_many_matrices_are_those_of_each(seed, scheme):
    counts = random_counts(seed, scheme)
    stacked = segmentation.compute_metrics(counts, scheme)
    for image, matrix in enumerate(counts):
        for name, value in segmentation.compute_metrics(matrix, scheme).items():
            assert stacked[name][image] == pytest.approx(float(value), nan_ok=True), name


@given(seeds, schemes)
@random_masks
def test_an_undefined_metric_has_a_reason_and_a_defined_one_lies_in_0_to_1(seed, scheme):
    scores = segmentation.score(random_counts(seed, scheme)[:1], scheme)
    assert tuple(scores.values) == segmentation.METRICS[scheme]
    for name, value in scores.values.items():
        assert 0 <= value <= 1 or (np.isnan(value) and scores.undefined[name]), name
    assert len(scores.undefined) == np.isnan(list(scores.values.values())).sum()


@pytest.mark.parametrize("scheme", MASK_SCHEMES)
def test_perfect_masks_score_1_and_no_masks_are_undefined_in_every_metric(scheme):
    num_classes = len(MASK_SCHEMES[scheme])
    perfect = segmentation.score(np.eye(num_classes)[None], scheme)
    assert set(perfect.values.values()) == {1.0}
    empty = segmentation.score(np.zeros((0, num_classes, num_classes)), scheme)
    assert empty.undefined == dict.fromkeys(segmentation.METRICS[scheme], "no image was tested")
    assert np.isnan(list(empty.values.values())).all()


def test_reasons_name_the_class_that_is_nowhere():
    absent, nowhere = "no true mask has B-line", "no true and no predicted mask has B-line"
    reasons = {"dice": nowhere, "sensitivity": absent}
    assert segmentation.score(count((0, 0), (0, 0), 2)[None], "bline").undefined == {
        name + suffix: reason for suffix in ("", "_per_image") for name, reason in reasons.items()
    }
    full = segmentation.score(count((1, 1), (1, 1), 2)[None], "bline")
    assert full.undefined["specificity"] == "every true pixel is B-line"
    markers = segmentation.score(np.diag([1.0, 0, 0, 0, 0])[None], "markers").undefined
    assert markers["union_dice"] == "no true and no predicted mask has score 1, 2 or 3"
    assert markers["dice score 1"] == "no true and no predicted mask has score 1"


def test_dice_of_the_data_set_weighs_pixels_and_dice_per_image_weighs_images():
    pairs = (((1,) * 4, (1,) * 4), ((1, 0, 0, 0), (0,) * 4), ((0,) * 4, (0,) * 4))
    counts = np.stack([count(*pair, 2) for pair in pairs])
    scores = segmentation.score(counts, "bline")
    assert scores["dice"] == pytest.approx(8 / 9)
    assert scores["dice_per_image"] == 0.5
    spread = segmentation.spread_over_images(counts, "bline")["dice"]
    assert spread == segmentation.Spread(0.5, 0.5, 2)
    spread = segmentation.spread_over_images(counts[2:], "bline")["sensitivity"]
    assert np.isnan([spread.mean, spread.std]).all()
    assert spread.num_images == 0


def test_precision_and_specificity_of_a_class_count_its_false_positives():
    counts = np.array([[80, 0, 10, 0], [0, 4, 0, 0], [2, 0, 8, 0], [6, 0, 0, 0]])
    values = segmentation.compute_metrics(counts, "sparse")
    assert values["precision B-line"] == pytest.approx(8 / 18)
    assert values["specificity B-line"] == pytest.approx(1 - 10 / 100)
    assert values["precision A-line"] == values["specificity A-line"] == 1
    assert values["precision pleura"] == 0  # missed everywhere
    assert values["specificity pleura"] == 1
