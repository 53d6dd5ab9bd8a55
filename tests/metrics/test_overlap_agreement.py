"""Overlap on 10,000 random masks against torchmetrics and MONAI, empty masks included.

Both libraries compute the same formulas; where they treat an empty class otherwise, a test states
what they do and what the rule here is.
"""

from functools import partial

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
from lus_ray.metrics.classification import accuracy

pytestmark = [pytest.mark.slow, pytest.mark.full]

NUM_MASKS = 10_000
FLOAT32 = 1e-6
"""Both libraries divide in single precision."""

by_class = partial(dice_score, average="none", input_format="index")


class Masks:
    """Random true and predicted masks of 8 x 8 pixels, in the forms that each library reads.

    Some agree in most pixels and some in few; one in eight of either is background throughout.
    """

    def __init__(self, num_classes: int) -> None:
        rng = np.random.default_rng(num_classes)
        self.target, self.predicted = (random_masks(rng, num_classes) for _ in range(2))
        agreed = rng.random(self.target.shape) < rng.random((NUM_MASKS, 1, 1))
        self.predicted[agreed] = self.target[agreed]
        for masks in (self.target, self.predicted):
            masks[rng.random(NUM_MASKS) < 1 / 8] = 0
        self.counts = segmentation.count_pixels(
            self.target, self.predicted, num_classes=num_classes
        )
        true, guess = (torch.from_numpy(m).long() for m in (self.target, self.predicted))
        self.pair = (guess, true, num_classes)
        self.one_hot = {
            "y": one_hot(true, num_classes).movedim(-1, 1),
            "y_pred": one_hot(guess, num_classes).movedim(-1, 1),
        }
        self.in_truth = self.counts.sum(axis=2) > 0
        self.in_prediction = self.counts.sum(axis=1) > 0


def random_masks(rng: np.random.Generator, num_classes: int) -> np.ndarray:
    """Each mask with a random number of the classes, chosen at random."""
    order = rng.random((NUM_MASKS, num_classes)).argsort(axis=1)
    num_present = rng.integers(1, num_classes + 1, (NUM_MASKS, 1, 1))
    sampled = rng.integers(0, num_present, (NUM_MASKS, 8, 8))
    masks = np.take_along_axis(order, sampled.reshape(NUM_MASKS, 64), axis=1)
    return masks.reshape(sampled.shape).astype(np.uint8)


@pytest.fixture(scope="module", params=(2, 4, 5, 7))
def masks(request: pytest.FixtureRequest) -> Masks:
    return Masks(request.param)


def assert_equal(found: np.ndarray, expected: torch.Tensor) -> None:
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=FLOAT32, equal_nan=True)


def test_the_masks_hold_every_case_of_emptiness(masks: Masks) -> None:
    true, guessed = masks.in_truth, masks.in_prediction
    cases = (true & guessed, true & ~guessed, ~true & guessed, ~true & ~guessed)
    assert all(case.sum() > 100 for case in cases)


def test_metrics_of_each_image_are_those_of_torchmetrics_with_minus_1_for_nan(masks: Masks) -> None:
    dice, iou = segmentation.dice(masks.counts), segmentation.iou(masks.counts)
    assert_equal(dice, by_class(*masks.pair))
    mean = dice_score(*masks.pair, average="macro", input_format="index")
    assert_equal(segmentation.mean_of_defined(dice), mean)
    expected = mean_iou(*masks.pair, per_class=True, input_format="index")
    assert_equal(np.nan_to_num(iou, nan=-1.0), expected)
    assert np.array_equal(np.isnan(iou), ~masks.in_truth & ~masks.in_prediction)
    mean = mean_iou(*masks.pair, input_format="index")
    assert_equal(segmentation.mean_of_defined(iou), mean)


def test_metrics_of_all_images_are_those_of_torchmetrics(masks: Masks) -> None:
    total = masks.counts.sum(axis=0)
    assert np.array_equal(total, multiclass_confusion_matrix(*masks.pair).numpy())
    expected = by_class(*masks.pair, aggregation_level="global")
    assert_equal(segmentation.dice(total), expected[0])
    iou = segmentation.iou(total)
    assert_equal(iou, multiclass_jaccard_index(*masks.pair, average="none"))
    mean = multiclass_jaccard_index(*masks.pair, average="macro")
    assert_equal(segmentation.mean_of_defined(iou), mean)
    assert_equal(accuracy(total), multiclass_accuracy(*masks.pair, average="micro"))


@pytest.mark.parametrize(
    ("ours", "theirs"), [(segmentation.dice, compute_dice), (segmentation.iou, compute_iou)]
)
def test_dice_and_iou_are_those_of_monai_but_for_empty_classes(masks: Masks, ours, theirs) -> None:
    """MONAI leaves out a class that is predicted but not true; it can score two empty masks 1."""
    found, expected = ours(masks.counts), theirs(**masks.one_hot)
    invented = masks.in_prediction & ~masks.in_truth
    assert (found[invented] == 0).all()
    assert expected.isnan().numpy()[invented].all()
    assert_equal(np.where(invented, np.nan, found), expected)
    perfect = theirs(**masks.one_hot, ignore_empty=False)
    assert_equal(np.nan_to_num(found, nan=1.0), perfect)


@pytest.mark.parametrize("name", ["sensitivity", "specificity"])
def test_sensitivity_and_specificity_of_each_image_are_those_of_monai(name: str) -> None:
    masks = Masks(2)
    by_image = get_confusion_matrix(masks.one_hot["y_pred"], masks.one_hot["y"])[:, 1]
    found = getattr(segmentation, name)(masks.counts)
    assert_equal(found, compute_confusion_matrix_metric(name, by_image))


def test_dice_of_a_union_is_that_of_torchmetrics_on_united_masks() -> None:
    masks, union = Masks(5), segmentation.UNION
    guess, true = (
        torch.from_numpy(np.isin(m, union).astype(np.int64))
        for m in (masks.predicted, masks.target)
    )
    expected = by_class(guess, true, num_classes=2)
    assert_equal(segmentation.union_dice(masks.counts, union), expected[:, 1])
