"""The report says where a member of an ensemble that learned nothing drags the others down."""

import pytest

from lus_ray.evaluation import ensemble_members
from lus_ray.evaluation.scored_arms import ScoredArm
from lus_ray.metrics.classification import Scores
from lus_ray.runs.manifest import ArmRecord


def describe(ensemble, *members, size="laptop"):
    """What is said of an ensemble with this Dice, and members with these."""
    dice = {f"net {n}": value for n, value in enumerate(members)}
    arms = {
        name: ScoredArm(
            name, "markers masks", False, (), (0,), {}, {0: Scores({"union_dice": value}, {})}
        )
        for name, value in {**dice, "ensemble": ensemble}.items()
    }
    records = [*map(record, dice), record("ensemble", members=tuple(dice))]
    return ensemble_members.describe(records, arms, ("union_dice",), size=size)


def record(name, members=()):
    return ArmRecord(name=name, members=members)


def test_an_untrained_member_is_named_where_the_ensemble_is_below_its_best():
    assert describe(0.401, 0.7, 0.706, 0.002) == [
        "'ensemble' has 40.1 % in the first metric, less than its member 'net 1' (70.6 %): 'net 2' "
        "(0.2 %) learned next to nothing and drags the ensemble down; train longer, or leave it "
        "out."
    ]
    (text,) = describe(0.3, 0.7, 0.1, 0.2)
    assert "'net 1' (10.0 %) and 'net 2' (20.0 %) learned next to nothing and drag the" in text


@pytest.mark.parametrize(
    ("ensemble", "members"),
    [
        (0.8, (0.7, 0.7, 0.0)),  # it mends all the same
        (0.6, (0.7, 0.7, 0.5)),  # every member knows much
        (0.0, (0.0, 0.0, 0.0)),  # nobody knows anything
        (0.3, (0.7,)),  # one network with factors
        (float("nan"), (float("nan"), 0.5, 0.1)),  # unfinished
    ],
)
def test_nothing_is_said_of_other_ensembles(ensemble, members):
    assert not describe(ensemble, *members)


def test_nothing_is_said_at_a_size_at_which_nobody_learns_much():
    assert not describe(0.401, 0.7, 0.706, 0.002, size="smoke")
