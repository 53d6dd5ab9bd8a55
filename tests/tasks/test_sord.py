"""SORD targets: the published tables to six digits, and what a perfect answer still costs."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lus_ray.tasks.losses import POSITIONS, WIDE_GAP, soft_cross_entropy, sord_targets

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
both = pytest.mark.parametrize(
    ("positions", "table", "floors"),
    [
        (POSITIONS, PLAIN_TABLE, [0.368, 0.668, 0.668, 0.368]),
        (WIDE_GAP, WIDE_TABLE, [0.061, 0.419, 0.666, 0.368]),
    ],
    ids=["plain", "wide gap"],
)


@both
def test_targets_are_the_published_table_to_six_digits(positions, table, floors):
    assert sord_targets(positions).dtype == torch.float64
    assert sord_targets(positions).tolist() == [pytest.approx(row, abs=5.1e-7) for row in table]


@both
def test_a_perfect_answer_costs_the_entropy_of_its_target(positions, table, floors):
    target = sord_targets(positions)
    cost = soft_cross_entropy(target.log(), target)
    assert cost.tolist() == pytest.approx(floors, abs=6e-4)


@both
def test_no_answer_costs_less_than_the_perfect_one(positions, table, floors):
    target = sord_targets(positions)
    logits = target.log().clone().requires_grad_()
    soft_cross_entropy(logits, target).sum().backward()
    assert logits.grad.abs().max() < 1e-12
    nudged = target.log() + torch.linspace(-0.1, 0.1, 4, dtype=torch.float64)
    assert (soft_cross_entropy(nudged, target) > soft_cross_entropy(logits, target)).all()


def test_a_near_score_is_a_smaller_error_than_a_far_one():
    said = 10 * torch.eye(4, dtype=torch.float64)
    costs = soft_cross_entropy(said, sord_targets()[[0] * 4])
    assert costs.tolist() == sorted(costs.tolist())


def test_against_a_single_class_it_is_the_plain_cross_entropy():
    logits = torch.tensor([[2.0, 0.0, -1.0, 0.5]])
    plain = -math.log(math.exp(2) / (math.exp(2) + 1 + math.exp(-1) + math.exp(0.5)))
    assert soft_cross_entropy(logits, torch.eye(4)[:1]).item() == pytest.approx(plain, abs=1e-6)


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=6), st.floats(-3, 3))
def test_targets_are_distributions_that_know_distances_only(positions, shift):
    target = sord_targets(positions)
    assert torch.allclose(target.sum(dim=1), torch.ones(len(positions), dtype=torch.float64))
    assert (target.argmax(dim=1) >= 0).all()
    assert torch.all(target.diagonal() >= target.max(dim=1).values - 1e-12)
    assert torch.allclose(target, sord_targets([place + shift for place in positions]), atol=1e-9)
