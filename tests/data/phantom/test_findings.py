from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lus_ray.clip import BIOMARKER_GROUPS, BIOMARKERS
from lus_ray.data.phantom.findings import Spot, grade_severity, label_biomarkers, reduce_grade
from lus_ray.data.phantom.lung import sample_findings
from lus_ray.data.phantom.patient import seeded_rng
from tests.data.phantom.scenes import B_LINE, HEALTHY, PATIENT, make_patient


def ticked(findings, group):
    values = zip(BIOMARKERS, label_biomarkers(findings, PATIENT), strict=True)
    return {name.partition(": ")[2] for name, yes in values if yes and name.startswith(group + ":")}


@pytest.mark.parametrize(
    ("change", "grade"),
    [
        ({}, 0),
        ({"effusion_mm": 8.0, "thickness_mm": 6.0}, 0),
        ({"b_lines": (B_LINE,)}, 1),
        ({"indents": (Spot(0, 3),)}, 1),
        ({"breaks": (Spot(0, 3),)}, 2),
        ({"consolidations": (Spot(0, 9),)}, 2),
        ({"consolidations": (Spot(0, 11),)}, 3),
        ({"white": 0.7}, 3),
    ],
)
def test_severity_is_that_of_the_worst_finding(change, grade):
    assert grade_severity(replace(HEALTHY, **change)) == grade


@pytest.mark.parametrize(
    ("change", "group", "levels"),
    [
        ({}, "A-lines", {"none"}),
        ({"a_level": 2, "num_a_lines": 2}, "A-lines", {"strong", "stacked"}),
        ({"a_level": 1, "num_a_lines": 1, "a_width_mm": 22}, "A-lines", {"weak", "wide"}),
        ({"b_lines": (B_LINE,) * 3}, "B-lines", {"few"}),
        ({"b_lines": (B_LINE,) * 4}, "B-lines", {"some"}),
        ({"b_lines": (B_LINE,) * 7}, "B-lines", {"many"}),
        ({"b_lines": (B_LINE,), "white": 0.8}, "B-lines", {"white"}),
        ({}, "B-line origin", {"not applicable"}),
        ({"b_lines": (B_LINE,), "sub_pleural": True}, "B-line origin", {"sub-pleura"}),
        ({"thickness_mm": 2.4}, "pleural thickness", {"2-3 mm"}),
        ({"indents": (Spot(0, 3),) * 2}, "pleural indent", {"< 5 mm few"}),
        ({"breaks": (Spot(0, 3),) * 3}, "pleural break", {"< 5 mm multiple"}),
        ({"consolidations": (Spot(0, 7),)}, "consolidation", {"5-10 mm"}),
        ({"consolidations": (Spot(0, 12),)}, "consolidation", {"> 10 mm"}),
        ({"effusion_mm": 3.0}, "effusion", {"< 5 mm"}),
    ],
)
def test_a_finding_ticks_its_level(change, group, levels):
    assert ticked(replace(HEALTHY, **change), group) == levels


@given(seed=st.integers(0, 2**31 - 1), domain=st.sampled_from("AB"), index=st.integers(0, 500))
@settings(max_examples=60)
def test_one_level_per_group_is_ticked_and_reducing_takes_exactly_one_grade(seed, domain, index):
    patient = make_patient(index, seed, domain)
    findings = sample_findings(patient, domain, seeded_rng(seed, domain, 2, index, 0))
    values = dict(zip(BIOMARKERS, label_biomarkers(findings, patient), strict=True))
    for group, levels in BIOMARKER_GROUPS.items():
        base = [level for level in levels if level not in ("stacked", "wide")]
        assert sum(values[f"{group}: {level}"] for level in base) == 1
    assert not (values["A-lines: none"] and (values["A-lines: stacked"] or values["A-lines: wide"]))
    assert values["B-lines: none"] == values["B-line origin: not applicable"]
    while (grade := grade_severity(findings)) > 0:
        findings = reduce_grade(findings)
        assert grade_severity(findings) == grade - 1
