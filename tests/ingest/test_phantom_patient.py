from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lus_ray.clip import BIOMARKER_GROUPS, BIOMARKERS, sf_class
from lus_ray.ingest.phantom_patient import (
    BLine,
    Lung,
    Signs,
    Spot,
    biomarkers,
    confusion,
    draw_lung,
    draw_patient,
    draw_presence,
    draw_signs,
    milder,
    read_by_raters,
    severity,
    stream,
)

HEALTHY = Signs(
    a_level=2,
    num_a_lines=2,
    a_width_mm=12,
    b_lines=(),
    white=0.0,
    sub_pleural=False,
    thickness_mm=0.7,
    indents=(),
    breaks=(),
    consolidations=(),
    effusion_mm=0.0,
)
B_LINE = BLine(x_mm=0, width_mm=2, strength=1, reach=1)
DOMAINS = st.sampled_from(["A", "B"])


def patient(index=0, seed=0, domain="A", confounder=None):
    return draw_patient(
        seed=seed, domain=domain, index=index, difficulty=0.5, probe=None, confounder=confounder
    )


def ticked(signs, group):
    said = zip(BIOMARKERS, biomarkers(signs, patient()), strict=True)
    return {name.partition(": ")[2] for name, yes in said if yes and name.startswith(group + ":")}


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
def test_severity_is_that_of_the_worst_sign(change, grade):
    assert severity(replace(HEALTHY, **change)) == grade


@pytest.mark.parametrize(
    ("change", "group", "levels"),
    [
        ({}, "A-lines", {"strong", "stacked"}),
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
def test_a_sign_ticks_its_box(change, group, levels):
    assert ticked(replace(HEALTHY, **change), group) == levels


@given(seed=st.integers(0, 2**31 - 1), domain=DOMAINS, index=st.integers(0, 500))
@settings(max_examples=150, deadline=None)
def test_one_box_per_group_is_ticked_save_the_extras_of_a_lines(seed, domain, index):
    someone = patient(index, seed, domain)
    signs = draw_signs(someone, domain, stream(seed, domain, 2, index, 0))
    said = dict(zip(BIOMARKERS, biomarkers(signs, someone), strict=True))
    for group, levels in BIOMARKER_GROUPS.items():
        base = [level for level in levels if level not in ("stacked", "wide")]
        assert sum(said[f"{group}: {level}"] for level in base) == 1
    assert not (said["A-lines: none"] and (said["A-lines: stacked"] or said["A-lines: wide"]))
    assert said["B-lines: none"] == said["B-line origin: not applicable"]


@given(seed=st.integers(0, 2**31 - 1), domain=DOMAINS, num_frames=st.integers(1, 60))
@settings(max_examples=150, deadline=None)
def test_a_lung_is_at_its_worst_in_some_frame_and_one_grade_milder_in_the_others(
    seed, domain, num_frames
):
    lung = draw_lung(
        patient(seed=seed, domain=domain),
        domain,
        num_frames=num_frames,
        rng=stream(seed, domain, 2, 0, 0),
    )
    grades = {severity(signs) for signs in lung.frames()}
    worst = severity(lung.worst)
    assert len(lung.frames()) == num_frames
    assert worst in grades <= {worst, worst - 1}


@given(seed=st.integers(0, 2**31 - 1), index=st.integers(0, 100))
@settings(max_examples=100, deadline=None)
def test_milder_takes_exactly_one_grade(seed, index):
    signs = draw_signs(patient(index, seed), "A", stream(seed, "A", 2, index, 0))
    while (grade := severity(signs)) > 0:
        signs = milder(signs)
        assert severity(signs) == grade - 1


def test_an_unsteady_hand_moves_b_lines_and_nothing_else():
    signs = replace(HEALTHY, b_lines=(B_LINE,) * 200, indents=(Spot(0, 3),))
    lung = Lung(HEALTHY, signs, np.ones(3))
    assert lung.outlined(0.0, np.random.default_rng(0)) == lung
    moved = lung.outlined(0.8, np.random.default_rng(0)).worst
    assert np.std([line.x_mm for line in moved.b_lines]) == pytest.approx(0.8, rel=0.2)
    assert replace(moved, b_lines=signs.b_lines) == signs


def test_a_clip_of_a_sick_lung_changes_in_about_six_of_ten_cases():
    rng = np.random.default_rng(0)
    changing = [draw_presence(30, 2, rng).min() < 0.5 for _ in range(500)]
    assert np.mean(changing) == pytest.approx(0.6, abs=0.07)


@pytest.mark.parametrize("domain", ["A", "B"])
def test_raters_err_as_stated(domain):
    rng = np.random.default_rng(1)
    stated = confusion(domain, 0.5)
    assert stated.sum(axis=1) == pytest.approx(1)
    for grade in range(4):
        read = [read_by_raters(grade, domain, 0.5, rng=rng) for _ in range(500)]
        found = np.bincount(np.ravel(read), minlength=4) / 2500
        assert found == pytest.approx(stated[grade], abs=0.04)


def test_raters_agree_more_in_domain_a_and_on_easy_clips():
    agree = [np.trace(confusion(*case)) / 4 for case in (("A", 0.0), ("A", 0.5), ("B", 0.5))]
    assert agree == pytest.approx([0.94, 0.76, 0.64])


def test_each_round_of_seven_patients_has_all_seven_diseases():
    rounds = [{patient(7 * k + i).disease for i in range(7)} for k in range(3)]
    assert all(len(diseases) == 7 for diseases in rounds)


def test_saturation_follows_the_burden_but_not_alone():
    people = [patient(index) for index in range(300)]
    link = np.corrcoef([p.burden for p in people], [p.sf_ratio for p in people])[0, 1]
    assert -0.92 < link < -0.6
    assert {sf_class(p.sf_ratio) for p in people} == {0, 1, 2, 3}


def test_no_disease_has_a_grade_to_itself():
    seen = {}
    for index in range(210):
        someone = patient(index)
        signs = draw_signs(someone, "A", stream(0, "A", 2, index, 0))
        seen.setdefault(severity(signs), set()).add(someone.disease)
    assert all(len(diseases) >= 4 for diseases in seen.values())


@pytest.mark.parametrize(
    ("confounder", "trait"),
    [("gain", "gain_db"), ("fat", "fat_mm"), ("depth", "height_mm"), ("probe", "probe")],
)
def test_a_planted_confounder_follows_the_burden(confounder, trait):
    def link(planted):
        people = [patient(index, confounder=planted) for index in range(300)]
        values = [getattr(p, trait) for p in people]
        numbers = [float(v == "linear") if trait == "probe" else v for v in values]
        return np.corrcoef(np.argsort(np.argsort(numbers)), [p.burden for p in people])[0, 1]

    assert abs(link(None)) < 0.15
    assert link(confounder) > 0.4
