"""A backbone that several labels share is counted once."""

import pytest

from lus_ray.evaluation.schema import ArmResult
from lus_ray.report.shared_costs import find_routes, shared_cost_table


def make_arm(name, label, wall_s, *, reads=None, kind=None, start=None, crossfit=None):
    return ArmResult(
        name=name, label=label, baseline=False, start=start, reads=reads, crossfit=crossfit,
        kind=kind, method=name, leak=None, folds=(), missing=(), num_patients=0, mean={}, std={},
        interval={}, num_folds={}, undefined={}, published={}, difference={},
        calibration_error=None, confusion=None, cost={"wall_s": wall_s},
    )  # fmt: skip


NETWORKS = (
    make_arm("signs", "biomarkers", 100.0),
    make_arm("e2e severity", "severity", 60.0),
    make_arm("e2e disease", "disease", 50.0),
    make_arm("second severity", "severity", 500.0),
    make_arm("from signs", "severity", 40.0, start="signs"),
)
EXPERTS = tuple(
    make_arm(f"{kind} {label}", label, seconds, reads="signs", kind=kind)
    for label in ("severity", "disease")
    for kind, seconds in (("DT", 1.0), ("SVM", 3.0))
)


def test_one_backbone_with_experts_stands_beside_a_network_for_each_label():
    ((title, (alone, shared)),) = find_routes(NETWORKS + EXPERTS).items()
    assert title == "Severity, Disease"
    assert [arm.name for arm in alone.networks] == ["e2e severity", "e2e disease"]
    assert [arm.name for arm in shared.networks] == ["signs"]
    assert (alone.network_s, shared.network_s) == (110, 100)
    assert shared.expert_s == pytest.approx((2 * 1 + 2 * 3) / 2)


def test_a_backbone_counts_with_those_that_it_reads():
    inner = make_arm("inner", "biomarkers", 30.0, reads="signs", crossfit=2)
    experts = [make_arm(e.name + "'", e.label, 1.0, reads="inner", kind=e.kind) for e in EXPERTS]
    (routes,) = find_routes((*NETWORKS, inner, *experts)).values()
    assert [arm.name for arm in routes[-1].networks] == ["signs", "inner"]


@pytest.mark.parametrize("arms", [NETWORKS, NETWORKS[:2] + EXPERTS, EXPERTS])
def test_without_a_second_label_with_its_own_network_there_is_no_table(arms):
    assert shared_cost_table(arms) is None
