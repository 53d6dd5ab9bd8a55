"""Overlap of masks: counts of pixels, one rule for empty classes, the papers' metrics by name."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lus_ray.clip import MASK_SCHEMES
from lus_ray.data.masks import DERIVED, convert_masks
from lus_ray.metrics import segmentation

seeds, schemes = st.integers(0, 2**32 - 1), st.sampled_from(list(MASK_SCHEMES))
thorough = settings(deadline=None, max_examples=50)


def row(*classes: int) -> np.ndarray:
    """One image of one row of pixels."""
    return np.array([[classes]], np.uint8)


def count(target, predicted, num_classes: int) -> np.ndarray:
    return segmentation.count_pixels(row(*target), row(*predicted), num_classes=num_classes)[0]


def masks(seed: int, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """True and predicted masks of six images of 4 x 4 pixels, each with some of the classes."""
    rng = np.random.default_rng(seed)
    pair = np.zeros((2, 6, 4, 4), np.uint8)
    for mask in pair.reshape(-1, 4, 4):
        present = rng.permutation(num_classes)[: rng.integers(1, num_classes + 1)]
        mask[:] = rng.choice(present, (4, 4))
    return pair[0], pair[1]


def random_counts(seed: int, scheme: str) -> np.ndarray:
    num_classes = len(MASK_SCHEMES[scheme])
    return segmentation.count_pixels(*masks(seed, num_classes), num_classes=num_classes)


def test_true_classes_are_rows_and_predicted_classes_are_columns() -> None:
    assert count((0, 0, 0, 1), (0, 1, 1, 1), 2).tolist() == [[1, 2], [0, 1]]


def test_each_image_is_counted_alone() -> None:
    target, predicted = masks(3, 5)
    counts = segmentation.count_pixels(target, predicted, num_classes=5)
    alone = [
        segmentation.count_pixels(true[None], guess[None], num_classes=5)[0]
        for true, guess in zip(target, predicted, strict=True)
    ]
    assert np.array_equal(counts, alone)
    assert counts.sum(axis=(1, 2)).tolist() == [16] * 6


def test_the_last_of_256_classes_is_counted() -> None:
    counts = count((255, 254), (255, 255), 256)
    assert counts[255, 255] == counts[254, 255] == 1
    assert counts.sum() == 2


def test_no_images_have_no_counts() -> None:
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
def test_masks_that_cannot_be_counted_are_refused(target, predicted, message) -> None:
    with pytest.raises(ValueError, match=message):
        segmentation.count_pixels(target, predicted, num_classes=2)


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        (lambda: segmentation.merge_classes(np.zeros((3, 3)), (0, 1)), "for 3 classes"),
        (lambda: segmentation.merge_classes(np.zeros((3, 3)), (0, 1, -1)), "for 3 classes"),
        (lambda: segmentation.merge_classes(np.zeros((3, 3)), ()), "for 3 classes"),
        (lambda: segmentation.score(np.zeros((1, 2, 2)), "cheese"), "no mask scheme 'cheese'; use"),
        (lambda: segmentation.score(np.zeros((1, 7, 7)), "sparse"), "for the 4 classes of 'spars"),
    ],
)
def test_counts_that_do_not_fit_are_refused(refused, message) -> None:
    with pytest.raises(ValueError, match=message):
        refused()


def test_two_pixels_of_which_one_is_shared_have_an_iou_of_one_third_and_a_dice_of_one_half():
    counts = count((1, 1, 0, 0), (0, 1, 1, 0), 2)
    assert segmentation.iou(counts)[1] == pytest.approx(1 / 3)
    assert segmentation.dice(counts)[1] == 0.5
    assert segmentation.sensitivity(counts) == segmentation.specificity(counts) == 0.5


def test_a_class_in_neither_mask_is_undefined_and_left_out_of_the_mean() -> None:
    counts = count((0, 0, 1, 1), (0, 1, 1, 1), 3)
    iou = segmentation.iou(counts)
    assert np.isnan([iou[2], segmentation.dice(counts)[2]]).all()
    assert segmentation.mean_of_defined(iou) == pytest.approx((1 / 2 + 2 / 3) / 2)


@pytest.mark.parametrize(("target", "predicted"), [((0, 0), (0, 2)), ((0, 2), (0, 0))])
def test_a_class_in_one_mask_only_is_zero_and_stays_in_the_mean(target, predicted) -> None:
    counts = count(target, predicted, 3)
    assert segmentation.iou(counts)[2] == segmentation.dice(counts)[2] == 0
    assert segmentation.mean_of_defined(segmentation.iou(counts)) == 0.25


def test_sensitivity_needs_true_pixels_and_specificity_needs_others() -> None:
    none_true, all_true = count((0, 0), (0, 1), 2), count((1, 1), (0, 1), 2)
    assert np.isnan(segmentation.sensitivity(none_true))
    assert np.isnan(segmentation.specificity(all_true))
    assert segmentation.specificity(none_true) == segmentation.sensitivity(all_true) == 0.5


def test_within_a_union_one_class_may_stand_for_another() -> None:
    counts = count((2, 3, 4, 0), (3, 4, 2, 0), 5)
    assert segmentation.union_dice(counts, (2, 3, 4)) == 1
    assert not segmentation.dice(counts)[2:].any()


def test_the_published_dice_are_those_of_scores_1_to_3_and_of_0_2_and_3() -> None:
    assert [segmentation.MARKERS[k] for k in segmentation.UNION] == [
        "score 1",
        "score 2",
        "score 3",
    ]
    categories = [segmentation.MARKERS[k] for k in segmentation.CATEGORICAL]
    assert categories == ["score 0", "score 2", "score 3"]


@given(seeds, st.sampled_from(sorted(DERIVED)))
@thorough
def test_merged_counts_equal_counts_of_converted_masks(seed: int, pair: tuple[str, str]) -> None:
    many, few = (len(MASK_SCHEMES[scheme]) for scheme in pair)
    both = masks(seed, many)
    converted = (convert_masks(mask, *pair) for mask in both)
    mapping = convert_masks(np.arange(many, dtype=np.uint8), *pair).tolist()
    merged = segmentation.merge_classes(segmentation.count_pixels(*both, num_classes=many), mapping)
    assert np.array_equal(merged, segmentation.count_pixels(*converted, num_classes=few))


def test_either_pleura_may_stand_for_the_other_once_dense_counts_are_sparse() -> None:
    dense = count((3, 4, 5, 0), (4, 3, 6, 0), 7)[None]
    assert segmentation.score(dense, "dense")["pixel_accuracy"] == 0.25
    sparse = segmentation.merge_classes(dense, (0, 1, 2, 3, 3, 0, 0))
    assert segmentation.score(sparse, "sparse")["iou pleura"] == 1


@given(seeds, schemes)
@thorough
def test_metrics_of_many_matrices_are_those_of_each(seed: int, scheme: str) -> None:
    counts = random_counts(seed, scheme)
    together = segmentation.compute_metrics(counts, scheme)
    for image, matrix in enumerate(counts):
        alone = segmentation.compute_metrics(matrix, scheme).items()
        expected = {name: float(value) for name, value in alone}
        assert {m: v[image] for m, v in together.items()} == pytest.approx(expected, nan_ok=True)


@given(seeds, schemes)
@thorough
def test_what_is_undefined_has_a_reason_and_what_is_defined_lies_in_0_to_1(seed, scheme) -> None:
    found = segmentation.score(random_counts(seed, scheme)[:1], scheme)
    assert tuple(found.values) == segmentation.METRICS[scheme]
    defined = {name: value for name, value in found.values.items() if not np.isnan(value)}
    assert set(found.undefined) == set(found.values) - set(defined)
    assert all(0 <= value <= 1 for value in defined.values())
    assert all(found.undefined.values())


@pytest.mark.parametrize("scheme", MASK_SCHEMES)
def test_perfect_masks_score_1_and_no_masks_are_undefined_in_every_metric(scheme: str) -> None:
    num_classes = len(MASK_SCHEMES[scheme])
    perfect = segmentation.score(np.eye(num_classes)[None], scheme)
    assert set(perfect.values.values()) == {1.0}
    empty = segmentation.score(np.zeros((0, num_classes, num_classes)), scheme)
    assert empty.undefined == dict.fromkeys(segmentation.METRICS[scheme], "no image was tested")
    assert np.isnan(list(empty.values.values())).all()


def test_reasons_name_the_class_that_is_nowhere() -> None:
    absent, nowhere = "no true mask has B-line", "no true and no predicted mask has B-line"
    assert segmentation.score(count((0, 0), (0, 0), 2)[None], "bline").undefined == {
        "dice": nowhere,
        "sensitivity": absent,
        "dice_per_image": nowhere,
        "sensitivity_per_image": absent,
    }
    full = segmentation.score(count((1, 1), (1, 1), 2)[None], "bline")
    assert full.undefined["specificity"] == "every true pixel is B-line"
    markers = segmentation.score(np.diag([1.0, 0, 0, 0, 0])[None], "markers").undefined
    assert markers["union_dice"] == "no true and no predicted mask has score 1, 2 or 3"
    assert markers["dice score 1"] == "no true and no predicted mask has score 1"


def test_dice_of_the_data_set_weighs_pixels_and_dice_per_image_weighs_images() -> None:
    pairs = (((1,) * 4, (1,) * 4), ((1, 0, 0, 0), (0,) * 4), ((0,) * 4, (0,) * 4))
    counts = np.stack([count(*pair, 2) for pair in pairs])
    found = segmentation.score(counts, "bline")
    assert found["dice"] == pytest.approx(8 / 9)
    assert found["dice_per_image"] == 0.5
    spread = segmentation.spread_over_images(counts, "bline")["dice"]
    assert spread == segmentation.Spread(0.5, 0.5, 2)


def test_a_metric_that_no_image_defines_has_no_spread() -> None:
    empty = count((0, 0), (0, 0), 2)[None]
    spread = segmentation.spread_over_images(empty, "bline")["sensitivity"]
    assert np.isnan([spread.mean, spread.std]).all()
    assert spread.num_images == 0
