"""Arms that follow a protocol that leaks are known, and so are the arms that build on them."""

from typing import Any

import pytest

from lus_ray.runs import leakage
from tests.evaluation.frame_run import ARMS
from tests.evaluation.run_folders import arm

SPLIT_BY_IMAGE = arm("leaky", rows={"images": True}, recipe={"select": "test"})


@pytest.mark.parametrize(
    ("arms", "leaks"),
    [
        (
            [*ARMS, arm("started", start="frames, all patients"), arm("other", rows={})],
            dict.fromkeys(
                ("frames, all patients", "uninorm on all patients", "started"), (leakage.OVERLAP,)
            ),
        ),
        (
            [arm("leaky", recipe={"select": "test"}), arm("other", recipe={"select": "best"})],
            {"leaky": (leakage.SELECTED,)},
        ),
        (
            [SPLIT_BY_IMAGE, arm("later", start="leaky")],
            dict.fromkeys(("leaky", "later"), (leakage.SELECTED, leakage.IMAGES)),
        ),
        (
            [arm("leaky", rows={"clips": True}), arm("later", start="leaky")],
            dict.fromkeys(("leaky", "later"), (leakage.CLIPS,)),
        ),
    ],
)
def test_leaks_are_inherited(arms: list[Any], leaks: dict[str, tuple[str, ...]]) -> None:
    assert leakage.leaks({"arms": arms}) == leaks


@pytest.mark.parametrize("rows", [{"clips": True}, {"images": True}])
def test_an_arm_that_only_starts_from_a_random_split_tests_patients_of_its_fold(
    rows: dict[str, bool],
) -> None:
    experiment = {"arms": [arm("leaky", rows=rows), arm("later", start="leaky")]}
    assert leakage.arms_split_at_random(experiment) == {"leaky"}
