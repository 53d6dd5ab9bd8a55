"""Losses of overlap against MONAI and for perfect and empty masks; SORD tables."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.losses import DiceLoss

from lus_ray.tasks.losses import (
    EPSILON,
    POSITIONS,
    WIDE_GAP,
    balanced_cross_entropy,
    foreground_dice,
    one_hot,
    soft_cross_entropy,
    soft_dice,
    sord_targets,
)


def sample(seed, num_classes=3):
    """Logits (2, K, 3, 4) and class ids (2, 3, 4)."""
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(2, num_classes, 3, 4, generator=generator)
    return logits, torch.randint(num_classes, (2, 3, 4), generator=generator)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**31), st.integers(2, 4))
def test_the_balanced_cross_entropy_weighs_pixels_by_the_share_of_other_classes(seed, num_classes):
    logits, ids = sample(seed, num_classes)
    share = np.bincount(ids.flatten(), minlength=num_classes)[ids] / ids.numel()
    probability = logits.double().softmax(dim=1).gather(1, ids[:, None])[:, 0].numpy()
    expected = -((1 - share) * np.log(np.clip(probability, 0.005, 1))).mean()
    assert balanced_cross_entropy(logits, ids).item() == pytest.approx(expected, abs=1e-5)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**31), st.integers(2, 5), st.booleans())
def test_dice_losses_and_their_gradients_are_those_of_monai(seed, num_classes, absent):
    logits, ids = sample(seed, num_classes)
    if absent:
        ids[ids == 1] = 0
    truth = one_hot(ids, num_classes=num_classes)
    soft = DiceLoss(squared_pred=True, batch=True, smooth_nr=0, smooth_dr=EPSILON)
    plain = DiceLoss(batch=True, smooth_nr=EPSILON, smooth_dr=EPSILON)
    p = logits.softmax(dim=1).requires_grad_()
    for loss, expected in (
        (soft_dice(p, truth), soft(p, truth)),
        (foreground_dice(p[:, 1], truth[:, 1]), plain(p[:, 1:2], truth[:, 1:2])),
    ):
        assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
        gradients = [torch.autograd.grad(value, p) for value in (loss, expected)]
        torch.testing.assert_close(*gradients, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(("corner", "dice"), [(1, 0), (0, 0.5)])  # 0.5 of the absent class
def test_a_perfect_mask_has_no_loss_even_if_it_is_empty(corner, dice):
    ids = torch.tensor([[[0, corner], [corner, 0]]])
    truth = one_hot(ids, num_classes=2)
    assert soft_dice(truth, truth).item() == pytest.approx(dice, abs=1e-6)
    assert foreground_dice(truth[:, 1], truth[:, 1]).item() == pytest.approx(0, abs=1e-6)
    assert balanced_cross_entropy(100 * truth, ids).item() == pytest.approx(0, abs=1e-6)


def test_a_confidently_wrong_pixel_has_a_bounded_loss_and_gradient():
    logits = torch.tensor([-20.0, 20.0, 0.0, 0.0]).reshape(1, 2, 2, 1).transpose(1, 2)
    logits = logits.contiguous().requires_grad_()
    loss = balanced_cross_entropy(logits.reshape(1, 2, 1, 2), torch.tensor([[[0, 1]]]))
    loss.backward()
    assert torch.isfinite(loss)
    assert loss.item() <= -np.log(0.005)
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_losses_of_half_precision_are_float32_and_finite(scale):
    logits, ids = sample(0, 2)
    half = (scale * logits).to(torch.bfloat16).requires_grad_()
    truth = one_hot(ids, num_classes=2)
    losses = [
        soft_dice(half.softmax(dim=1), truth),
        foreground_dice(half.softmax(dim=1)[:, 1], truth[:, 1]),
        balanced_cross_entropy(half, ids),
    ]
    assert {loss.dtype for loss in losses} == {torch.float32}
    torch.stack(losses).sum().backward()
    assert torch.isfinite(half.grad).all()


PLAIN_TABLE = [
    [0.880537, 0.119168, 0.000295, 0.000000],
    [0.106479, 0.786778, 0.106479, 0.000264],
    [0.000264, 0.106479, 0.786778, 0.106479],
    [0.000000, 0.000295, 0.119168, 0.880537],
]
WIDE_TABLE = [
    [0.989009, 0.010987, 0.000004, 0.000000],
    [0.009687, 0.872007, 0.118013, 0.000293],
    [0.000003, 0.106507, 0.786984, 0.106507],
    [0.000000, 0.000295, 0.119168, 0.880537],
]


@pytest.mark.parametrize(
    ("positions", "table", "entropies"),
    [
        (POSITIONS, PLAIN_TABLE, [0.368, 0.668, 0.668, 0.368]),
        (WIDE_GAP, WIDE_TABLE, [0.061, 0.419, 0.666, 0.368]),
    ],
    ids=["plain", "wide gap"],
)
def test_sord_targets_are_the_published_table_and_the_minimum_of_the_loss(
    positions, table, entropies
):
    target = sord_targets(positions)
    assert target.dtype == torch.float64
    assert target.tolist() == [pytest.approx(row, abs=5.1e-7) for row in table]
    logits = target.log().requires_grad_()
    losses = soft_cross_entropy(logits, target)
    assert losses.tolist() == pytest.approx(entropies, abs=6e-4)
    losses.sum().backward()
    assert logits.grad.abs().max() < 1e-12
    nudged = target.log() + torch.linspace(-0.1, 0.1, 4, dtype=torch.float64)
    assert (soft_cross_entropy(nudged, target) > losses).all()


def test_a_one_hot_target_gives_the_plain_cross_entropy():
    logits = torch.tensor([[2.0, 0.0, -1.0, 0.5]])
    plain = -math.log(math.exp(2) / (math.exp(2) + 1 + math.exp(-1) + math.exp(0.5)))
    assert soft_cross_entropy(logits, torch.eye(4)[:1]).item() == pytest.approx(plain, abs=1e-6)


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=6), st.floats(-3, 3))
def test_sord_targets_are_distributions_of_the_distances_alone(positions, shift):
    target = sord_targets(positions)
    assert torch.allclose(target.sum(dim=1), torch.ones(len(positions), dtype=torch.float64))
    assert torch.all(target.diagonal() >= target.max(dim=1).values - 1e-12)
    assert torch.allclose(target, sord_targets([p + shift for p in positions]), atol=1e-9)
