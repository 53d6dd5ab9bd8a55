"""Overlap of masks: counts of pixels, one rule for empty classes, the papers' metrics by name."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lus_ray.clip import MASK_SCHEMES
from lus_ray.data.masks import DERIVED, convert_masks
from lus_ray.metrics import segmentation


def row(*classes: int) -> np.ndarray:
    """One image of one row of pixels."""
    return np.array([[classes]], np.uint8)


def masks(seed: int, *, num_classes: int, num_images: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """True and predicted masks of 4 x 4 pixels, each with some of the classes only."""
    rng = np.random.default_rng(seed)
    pair = np.zeros((2, num_images, 4, 4), np.uint8)
    for mask in pair.reshape(-1, 4, 4):
        present = rng.permutation(num_classes)[: rng.integers(1, num_classes + 1)]
        mask[:] = rng.choice(present, (4, 4))
    return pair[0], pair[1]


def counted(seed: int, *, num_classes: int) -> np.ndarray:
    return segmentation.count_pixels(*masks(seed, num_classes=num_classes), num_classes=num_classes)


def test_true_classes_are_rows_and_predicted_classes_are_columns() -> None:
    counts = segmentation.count_pixels(row(0, 0, 0, 1), row(0, 1, 1, 1), num_classes=2)
    assert counts.tolist() == [[[1, 2], [0, 1]]]


def test_each_image_is_counted_alone() -> None:
    target, predicted = masks(3, num_classes=5)
    together = segmentation.count_pixels(target, predicted, num_classes=5)
    for image in range(6):
        one = slice(image, image + 1)
        assert np.array_equal(
            together[one], segmentation.count_pixels(target[one], predicted[one], num_classes=5)
        )
    assert together.sum(axis=(1, 2)).tolist() == [16] * 6


def test_the_last_of_256_classes_is_counted() -> None:
    counts = segmentation.count_pixels(row(255, 254), row(255, 255), num_classes=256)
    assert counts[0, 255, 255] == counts[0, 254, 255] == 1
    assert counts.sum() == 2


def test_no_images_have_no_counts() -> None:
    nothing = np.zeros((0, 4, 4), np.uint8)
    assert segmentation.count_pixels(nothing, nothing, num_classes=3).shape == (0, 3, 3)


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
def test_masks_that_cannot_be_counted_are_refused(
    target: np.ndarray, predicted: np.ndarray, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        segmentation.count_pixels(target, predicted, num_classes=2)


def test_two_pixels_of_which_one_is_shared_have_an_iou_of_one_third_and_a_dice_of_one_half() -> (
    None
):
    counts = segmentation.count_pixels(row(1, 1, 0, 0), row(0, 1, 1, 0), num_classes=2)[0]
    assert segmentation.iou(counts)[1] == pytest.approx(1 / 3)
    assert segmentation.dice(counts)[1] == 0.5
    assert segmentation.sensitivity(counts) == segmentation.specificity(counts) == 0.5
    assert segmentation.pixel_accuracy(counts) == 0.5


def test_a_class_in_neither_mask_is_undefined_and_left_out_of_the_mean() -> None:
    counts = segmentation.count_pixels(row(0, 0, 1, 1), row(0, 1, 1, 1), num_classes=3)[0]
    assert np.isnan(segmentation.iou(counts)[2])
    assert np.isnan(segmentation.dice(counts)[2])
    assert segmentation.mean_iou(counts) == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert segmentation.categorical_dice(counts, (1, 2)) == segmentation.dice(counts)[1]


@pytest.mark.parametrize(("target", "predicted"), [(row(0, 0), row(0, 2)), (row(0, 2), row(0, 0))])
def test_a_class_in_one_mask_only_is_zero_and_stays_in_the_mean(
    target: np.ndarray, predicted: np.ndarray
) -> None:
    counts = segmentation.count_pixels(target, predicted, num_classes=3)[0]
    assert segmentation.iou(counts)[2] == segmentation.dice(counts)[2] == 0
    assert segmentation.mean_iou(counts) == 0.25


def test_sensitivity_needs_true_pixels_and_specificity_needs_others() -> None:
    nothing_true = segmentation.count_pixels(row(0, 0), row(0, 1), num_classes=2)[0]
    all_true = segmentation.count_pixels(row(1, 1), row(0, 1), num_classes=2)[0]
    assert np.isnan(
        [segmentation.sensitivity(nothing_true), segmentation.specificity(all_true)]
    ).all()
    assert segmentation.specificity(nothing_true) == segmentation.sensitivity(all_true) == 0.5


def test_within_a_union_one_class_may_stand_for_another() -> None:
    counts = segmentation.count_pixels(row(2, 3, 4, 0), row(3, 4, 2, 0), num_classes=5)[0]
    assert segmentation.union_dice(counts, (2, 3, 4)) == 1
    assert segmentation.categorical_dice(counts, (2, 3, 4)) == 0


def test_the_published_dice_are_those_of_scores_1_to_3_and_of_0_2_and_3() -> None:
    assert [MASK_SCHEMES["markers"][k] for k in segmentation.UNION] == [
        "score 1",
        "score 2",
        "score 3",
    ]
    assert [MASK_SCHEMES["markers"][k] for k in segmentation.CATEGORICAL] == [
        "score 0",
        "score 2",
        "score 3",
    ]


@given(st.integers(0, 2**32 - 1), st.sampled_from(sorted(DERIVED)))
@settings(deadline=None, max_examples=50)
def test_collapsed_counts_equal_counts_of_converted_masks(
    seed: int, schemes: tuple[str, str]
) -> None:
    many, few = (len(MASK_SCHEMES[scheme]) for scheme in schemes)
    target, predicted = masks(seed, num_classes=many)
    expected = segmentation.count_pixels(
        convert_masks(target, *schemes), convert_masks(predicted, *schemes), num_classes=few
    )
    mapping = convert_masks(np.arange(many, dtype=np.uint8), *schemes).tolist()
    found = segmentation.merge_classes(
        segmentation.count_pixels(target, predicted, num_classes=many), mapping
    )
    assert np.array_equal(found, expected)


def test_either_pleura_may_stand_for_the_other_once_dense_counts_are_sparse() -> None:
    dense = segmentation.count_pixels(row(3, 4, 5, 0), row(4, 3, 6, 0), num_classes=7)
    assert segmentation.score(dense, "dense")["pixel_accuracy"] == 0.25
    sparse = segmentation.merge_classes(dense, (0, 1, 2, 3, 3, 0, 0))
    assert segmentation.score(sparse, "sparse")["iou pleura"] == 1


@pytest.mark.parametrize("mapping", [(0, 1), (0, 1, -1), ()])
def test_a_mapping_that_does_not_fit_the_classes_is_refused(mapping: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="for 3 classes"):
        segmentation.merge_classes(np.zeros((3, 3)), mapping)


@given(st.integers(0, 2**32 - 1), st.sampled_from(list(MASK_SCHEMES)))
@settings(deadline=None, max_examples=50)
def test_metrics_of_many_matrices_are_those_of_each(seed: int, scheme: str) -> None:
    counts = counted(seed, num_classes=len(MASK_SCHEMES[scheme]))
    found = segmentation.compute_metrics(counts, scheme)
    for image, matrix in enumerate(counts):
        for name, value in segmentation.compute_metrics(matrix, scheme).items():
            assert found[name][image] == pytest.approx(value, nan_ok=True)


@given(st.integers(0, 2**32 - 1), st.sampled_from(list(MASK_SCHEMES)))
@settings(deadline=None, max_examples=50)
def test_what_is_undefined_has_a_reason_and_what_is_defined_lies_in_0_to_1(
    seed: int, scheme: str
) -> None:
    found = segmentation.score(counted(seed, num_classes=len(MASK_SCHEMES[scheme]))[:1], scheme)
    assert tuple(found.values) == segmentation.METRICS[scheme]
    for name, value in found.values.items():
        assert np.isnan(value) == (name in found.undefined)
        assert np.isnan(value) or 0 <= value <= 1
    assert all(found.undefined.values())


@pytest.mark.parametrize("scheme", MASK_SCHEMES)
def test_perfect_masks_of_all_classes_score_1_in_every_metric(scheme: str) -> None:
    classes = range(len(MASK_SCHEMES[scheme]))
    counts = segmentation.count_pixels(row(*classes), row(*classes), num_classes=len(classes))
    assert set(segmentation.score(counts, scheme).values.values()) == {1.0}


@pytest.mark.parametrize("scheme", MASK_SCHEMES)
def test_without_images_nothing_is_defined(scheme: str) -> None:
    num_classes = len(MASK_SCHEMES[scheme])
    found = segmentation.score(np.zeros((0, num_classes, num_classes)), scheme)
    assert found.undefined == dict.fromkeys(segmentation.METRICS[scheme], "no image was tested")
    assert np.isnan(list(found.values.values())).all()


def test_reasons_name_the_class_that_is_nowhere() -> None:
    empty = segmentation.count_pixels(row(0, 0), row(0, 0), num_classes=2)
    assert segmentation.score(empty, "bline").undefined == {
        "dice": "no true and no predicted mask has B-line",
        "sensitivity": "no true mask has B-line",
        "dice_per_image": "no true and no predicted mask has B-line",
        "sensitivity_per_image": "no true mask has B-line",
    }
    full = segmentation.count_pixels(row(1, 1), row(1, 1), num_classes=2)
    assert (
        segmentation.score(full, "bline").undefined["specificity"] == "every true pixel is B-line"
    )
    markers = segmentation.score(np.diag([1.0, 0, 0, 0, 0])[None], "markers").undefined
    assert markers["union_dice"] == "no true and no predicted mask has score 1, 2 or 3"
    assert markers["dice score 1"] == "no true and no predicted mask has score 1"


def test_dice_of_the_data_set_weighs_pixels_and_dice_per_image_weighs_images() -> None:
    target = np.array([[[1, 1, 1, 1]], [[1, 0, 0, 0]], [[0, 0, 0, 0]]], np.uint8)
    predicted = np.array([[[1, 1, 1, 1]], [[0, 0, 0, 0]], [[0, 0, 0, 0]]], np.uint8)
    counts = segmentation.count_pixels(target, predicted, num_classes=2)
    found = segmentation.score(counts, "bline")
    assert found["dice"] == pytest.approx(8 / 9)
    assert found["dice_per_image"] == 0.5
    assert segmentation.spread_over_images(counts, "bline")["dice"] == segmentation.Spread(
        0.5, 0.5, 2
    )


def test_a_metric_that_no_image_defines_has_no_spread() -> None:
    empty = segmentation.count_pixels(row(0, 0), row(0, 0), num_classes=2)
    spread = segmentation.spread_over_images(empty, "bline")["sensitivity"]
    assert np.isnan([spread.mean, spread.std]).all()
    assert spread.num_images == 0


def test_an_unknown_scheme_and_counts_of_another_scheme_are_refused() -> None:
    with pytest.raises(ValueError, match="no mask scheme 'cheese'; use one of"):
        segmentation.score(np.zeros((1, 2, 2)), "cheese")
    with pytest.raises(ValueError, match="for the 4 classes of 'sparse'"):
        segmentation.score(np.zeros((1, 7, 7)), "sparse")
