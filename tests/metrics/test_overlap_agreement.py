"""Overlap on 10,000 random masks against torchmetrics and MONAI, empty masks included.

Both libraries compute the same formulas; where an empty class is another matter to them, a test
says what they do and what the rule here is.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from monai.metrics import (
    compute_confusion_matrix_metric,
    compute_dice,
    compute_iou,
    get_confusion_matrix,
)
from torch.nn.functional import one_hot
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_confusion_matrix,
    multiclass_jaccard_index,
)
from torchmetrics.functional.segmentation import dice_score, mean_iou

from lus_ray.metrics import segmentation

pytestmark = pytest.mark.slow

NUM_MASKS = 10_000
NUM_CLASSES = (2, 4, 5, 7)
FLOAT32 = 1e-6
"""Both libraries divide in single precision."""


Ours = Callable[[np.ndarray], np.ndarray]
Theirs = Callable[..., torch.Tensor]


class Masks:
    """Random true and predicted masks of 8 x 8 pixels, in the forms that each library reads.

    Some agree in most pixels and some in few; one in eight of either is background throughout.
    """

    def __init__(self, num_classes: int) -> None:
        rng = np.random.default_rng(num_classes)
        self.num_classes = num_classes
        self.target = random_masks(rng, num_classes)
        self.predicted = random_masks(rng, num_classes)
        agreed = rng.random(self.target.shape) < rng.random((NUM_MASKS, 1, 1))
        self.predicted[agreed] = self.target[agreed]
        for masks in (self.target, self.predicted):
            masks[rng.random(NUM_MASKS) < 1 / 8] = 0
        self.counts = segmentation.count_pixels(
            self.target, self.predicted, num_classes=num_classes
        )
        self.true, self.guess = (torch.from_numpy(m).long() for m in (self.target, self.predicted))
        self.one_hot = {
            "y": one_hot(self.true, num_classes).movedim(-1, 1),
            "y_pred": one_hot(self.guess, num_classes).movedim(-1, 1),
        }

    @property
    def in_truth(self) -> np.ndarray:
        return self.counts.sum(axis=2) > 0

    @property
    def in_prediction(self) -> np.ndarray:
        return self.counts.sum(axis=1) > 0


def random_masks(rng: np.random.Generator, num_classes: int) -> np.ndarray:
    """Each mask with a random number of the classes, chosen at random."""
    order = rng.random((NUM_MASKS, num_classes)).argsort(axis=1)
    num_present = rng.integers(1, num_classes + 1, (NUM_MASKS, 1, 1))
    drawn = rng.integers(0, num_present, (NUM_MASKS, 8, 8))
    masks = np.take_along_axis(order, drawn.reshape(NUM_MASKS, 64), axis=1)
    return masks.reshape(drawn.shape).astype(np.uint8)


@pytest.fixture(scope="module", params=NUM_CLASSES)
def masks(request: pytest.FixtureRequest) -> Masks:
    return Masks(request.param)


def assert_equal(found: np.ndarray, expected: torch.Tensor) -> None:
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=FLOAT32, equal_nan=True)


def test_the_masks_hold_every_case_of_emptiness(masks: Masks) -> None:
    true, guessed = masks.in_truth, masks.in_prediction
    cases = (true & guessed, true & ~guessed, ~true & guessed, ~true & ~guessed)
    assert all(case.sum() > 100 for case in cases)


def test_counts_are_those_of_torchmetrics(masks: Masks) -> None:
    expected = multiclass_confusion_matrix(masks.guess, masks.true, masks.num_classes)
    assert np.array_equal(masks.counts.sum(axis=0), expected.numpy())


def test_dice_of_each_image_is_that_of_torchmetrics(masks: Masks) -> None:
    expected = dice_score(
        masks.guess, masks.true, masks.num_classes, average="none", input_format="index"
    )
    assert_equal(segmentation.dice(masks.counts), expected)
    mean = dice_score(
        masks.guess, masks.true, masks.num_classes, average="macro", input_format="index"
    )
    assert_equal(segmentation.categorical_dice(masks.counts, range(masks.num_classes)), mean)


def test_dice_of_all_images_is_that_of_torchmetrics(masks: Masks) -> None:
    expected = dice_score(
        masks.guess,
        masks.true,
        masks.num_classes,
        average="none",
        input_format="index",
        aggregation_level="global",
    )
    assert_equal(segmentation.dice(masks.counts.sum(axis=0)), expected[0])


def test_iou_of_all_images_is_that_of_torchmetrics(masks: Masks) -> None:
    total = masks.counts.sum(axis=0)
    given = (masks.guess, masks.true, masks.num_classes)
    assert_equal(segmentation.iou(total), multiclass_jaccard_index(*given, average="none"))
    assert_equal(segmentation.mean_iou(total), multiclass_jaccard_index(*given, average="macro"))
    assert_equal(segmentation.pixel_accuracy(total), multiclass_accuracy(*given, average="micro"))


def test_iou_of_each_image_is_that_of_torchmetrics_which_says_minus_1_where_we_say_nan(
    masks: Masks,
) -> None:
    expected = mean_iou(
        masks.guess, masks.true, masks.num_classes, per_class=True, input_format="index"
    )
    found = segmentation.iou(masks.counts)
    assert_equal(np.nan_to_num(found, nan=-1.0), expected)
    assert np.array_equal(np.isnan(found), ~masks.in_truth & ~masks.in_prediction)
    mean = mean_iou(masks.guess, masks.true, masks.num_classes, input_format="index")
    assert_equal(segmentation.mean_iou(masks.counts), mean)


@pytest.mark.parametrize(
    ("ours", "theirs"), [(segmentation.dice, compute_dice), (segmentation.iou, compute_iou)]
)
def test_dice_and_iou_are_those_of_monai_which_leaves_out_what_is_predicted_but_not_true(
    masks: Masks, ours: Ours, theirs: Theirs
) -> None:
    found, expected = ours(masks.counts), theirs(**masks.one_hot)
    invented = masks.in_prediction & ~masks.in_truth
    assert (found[invented] == 0).all()
    assert expected.isnan().numpy()[invented].all()
    assert_equal(np.where(invented, np.nan, found), expected)


@pytest.mark.parametrize(
    ("ours", "theirs"), [(segmentation.dice, compute_dice), (segmentation.iou, compute_iou)]
)
def test_dice_and_iou_are_those_of_monai_which_can_call_two_empty_masks_perfect(
    masks: Masks, ours: Ours, theirs: Theirs
) -> None:
    expected = theirs(**masks.one_hot, ignore_empty=False)
    assert_equal(np.nan_to_num(ours(masks.counts), nan=1.0), expected)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(segmentation.sensitivity, "sensitivity"), (segmentation.specificity, "specificity")],
)
def test_sensitivity_and_specificity_of_each_image_are_those_of_monai(
    ours: Ours, theirs: str
) -> None:
    masks = Masks(2)
    by_image = get_confusion_matrix(masks.one_hot["y_pred"], masks.one_hot["y"])[:, 1]
    assert_equal(ours(masks.counts), compute_confusion_matrix_metric(theirs, by_image))


def test_dice_of_a_union_is_that_of_torchmetrics_on_united_masks() -> None:
    masks = Masks(5)
    guess, true = (
        torch.from_numpy(np.isin(m, segmentation.UNION).astype(np.int64))
        for m in (masks.predicted, masks.target)
    )
    expected = dice_score(guess, true, num_classes=2, average="none", input_format="index")
    assert_equal(segmentation.union_dice(masks.counts, segmentation.UNION), expected[:, 1])
