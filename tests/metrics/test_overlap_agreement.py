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

pytestmark = pytest.mark.full

NUM_MASKS = 10_000
dice_by_class = partial(dice_score, average="none", input_format="index")


class Masks:
    """Random true and predicted masks of 8 x 8 pixels, in the forms that each library reads.

    Some agree in most pixels and some in few; one in eight of either is background throughout.
    """

    def __init__(self, num_classes):
        rng = np.random.default_rng(num_classes)
        target, predicted = (random_masks(rng, num_classes) for _ in range(2))
        agreed = rng.random(target.shape) < rng.random((NUM_MASKS, 1, 1))
        predicted[agreed] = target[agreed]
        for masks in (target, predicted):
            masks[rng.random(NUM_MASKS) < 1 / 8] = 0
        self.counts = segmentation.count_pixels(target, predicted, num_classes=num_classes)
        true, guess = (torch.from_numpy(m).long() for m in (target, predicted))
        self.pair = (guess, true, num_classes)
        one_hots = (one_hot(mask, num_classes).movedim(-1, 1) for mask in (true, guess))
        self.one_hot = dict(zip(("y", "y_pred"), one_hots, strict=True))
        self.in_truth, self.in_prediction = (self.counts.sum(axis=axis) > 0 for axis in (2, 1))


def random_masks(rng, num_classes):
    """Each mask with a random number of the classes, chosen at random."""
    order = rng.random((NUM_MASKS, num_classes)).argsort(axis=1)
    num_present = rng.integers(1, num_classes + 1, (NUM_MASKS, 1))
    sampled = rng.integers(0, num_present, (NUM_MASKS, 64))
    masks = np.take_along_axis(order, sampled, axis=1)
    return masks.reshape(NUM_MASKS, 8, 8).astype(np.uint8)


@pytest.fixture(scope="module", params=(2, 4, 5, 7))
def masks(request):
    return Masks(request.param)


def assert_equal(values, expected):
    """Equal but for the single precision in which both libraries divide."""
    np.testing.assert_allclose(values, expected.numpy(), rtol=0, atol=1e-6, equal_nan=True)


def test_the_masks_hold_every_case_of_emptiness(masks):
    true, guessed = masks.in_truth, masks.in_prediction
    cases = (true & guessed, true & ~guessed, ~true & guessed, ~true & ~guessed)
    assert all(case.sum() > 100 for case in cases)


def test_metrics_of_each_image_are_those_of_torchmetrics_with_minus_1_for_nan(masks):
    dice, iou = segmentation.dice(masks.counts), segmentation.iou(masks.counts)
    assert_equal(dice, dice_by_class(*masks.pair))
    mean = dice_score(*masks.pair, average="macro", input_format="index")
    assert_equal(segmentation.mean_of_defined(dice), mean)
    expected = mean_iou(*masks.pair, per_class=True, input_format="index")
    assert_equal(np.nan_to_num(iou, nan=-1.0), expected)
    assert np.array_equal(np.isnan(iou), ~masks.in_truth & ~masks.in_prediction)
    mean = mean_iou(*masks.pair, input_format="index")
    assert_equal(segmentation.mean_of_defined(iou), mean)


def test_metrics_of_all_images_are_those_of_torchmetrics(masks):
    total = masks.counts.sum(axis=0)
    assert np.array_equal(total, multiclass_confusion_matrix(*masks.pair).numpy())
    assert_equal(
        segmentation.dice(total), dice_by_class(*masks.pair, aggregation_level="global")[0]
    )
    iou = segmentation.iou(total)
    assert_equal(iou, multiclass_jaccard_index(*masks.pair, average="none"))
    mean = multiclass_jaccard_index(*masks.pair, average="macro")
    assert_equal(segmentation.mean_of_defined(iou), mean)
    assert_equal(accuracy(total), multiclass_accuracy(*masks.pair, average="micro"))


@pytest.mark.parametrize(
    ("ours", "theirs"), [(segmentation.dice, compute_dice), (segmentation.iou, compute_iou)]
)
def test_dice_and_iou_are_those_of_monai_but_for_empty_classes(masks, ours, theirs):
    """MONAI leaves out a class that is predicted but not true; it can score two empty masks 1."""
    values, expected = ours(masks.counts), theirs(**masks.one_hot)
    invented = masks.in_prediction & ~masks.in_truth
    assert (values[invented] == 0).all()
    assert expected.isnan().numpy()[invented].all()
    assert_equal(np.where(invented, np.nan, values), expected)
    perfect = theirs(**masks.one_hot, ignore_empty=False)
    assert_equal(np.nan_to_num(values, nan=1.0), perfect)


@pytest.mark.parametrize("name", ["sensitivity", "specificity"])
def test_sensitivity_and_specificity_of_each_image_are_those_of_monai(name):
    masks = Masks(2)
    by_image = get_confusion_matrix(masks.one_hot["y_pred"], masks.one_hot["y"])[:, 1]
    values = getattr(segmentation, name)(masks.counts)
    assert_equal(values, compute_confusion_matrix_metric(name, by_image))


def test_dice_of_a_union_is_that_of_torchmetrics_on_united_masks():
    masks, union = Masks(5), torch.tensor(segmentation.UNION)
    guess, true = (torch.isin(mask, union).long() for mask in masks.pair[:2])
    expected = dice_by_class(guess, true, num_classes=2)
    assert_equal(segmentation.union_dice(masks.counts, segmentation.UNION), expected[:, 1])
