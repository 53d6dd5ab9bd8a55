"""Arms that follow a protocol that leaks are known, and so are the arms that build on them."""

import pytest

from lus_ray.runs import leakage
from tests.evaluation.frame_run import ARMS
from tests.evaluation.run_folders import arm

LATER, ON_TEST = arm("later", start="leaky"), {"select": "test"}
OVERLAPPING = ("frames, all patients", "uninorm on all patients", "started")


@pytest.mark.parametrize(
    ("arms", "leaking", "kinds"),
    [
        ([*ARMS, arm("started", start=OVERLAPPING[0]), arm("clean", rows={})],
         OVERLAPPING, (leakage.OVERLAP,)),
        ([arm("leaky", recipe=ON_TEST), arm("clean", recipe={"select": "best"})],
         ("leaky",), (leakage.SELECTED,)),
        ([arm("leaky", rows={"images": True}, recipe=ON_TEST), LATER],
         ("leaky", "later"), (leakage.SELECTED, leakage.IMAGES)),
        ([arm("leaky", rows={"clips": True}), LATER], ("leaky", "later"), (leakage.CLIPS,)),
    ],
)  # fmt: skip
def test_leaks_are_inherited(arms, leaking, kinds):
    assert leakage.leaks({"arms": arms}) == dict.fromkeys(leaking, kinds)


@pytest.mark.parametrize("rows", [{"clips": True}, {"images": True}])
def test_an_arm_that_only_starts_from_a_random_split_tests_patients_of_its_fold(rows):
    experiment = {"arms": [arm("leaky", rows=rows), LATER]}
    assert leakage.arms_split_at_random(experiment) == {"leaky"}
