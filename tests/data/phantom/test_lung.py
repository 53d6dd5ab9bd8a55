import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lus_ray.data.phantom import lung as lungs
from lus_ray.data.phantom.findings import grade_severity
from lus_ray.data.phantom.lung import sample_findings, sample_lung, spread_positions
from lus_ray.data.phantom.patient import seeded_rng
from tests.data.phantom.scenes import make_patient


@given(seed=st.integers(0, 2**31 - 1), domain=st.sampled_from("AB"), num_frames=st.integers(1, 60))
@settings(max_examples=60)
def test_a_lung_is_at_its_worst_in_some_frame_and_one_grade_milder_in_the_others(
    seed, domain, num_frames
):
    patient, rng = make_patient(seed=seed, domain=domain), seeded_rng(seed, domain, 2, 0, 0)
    lung = sample_lung(patient, domain, num_frames=num_frames, rng=rng)
    grades = [grade_severity(findings) for findings in lung.findings_per_frame()]
    worst = grade_severity(lung.worst)
    assert len(grades) == num_frames
    assert worst in grades
    assert set(grades) <= {worst, worst - 1}


def test_a_clip_of_a_sick_lung_changes_in_about_six_of_ten_cases():
    rng = np.random.default_rng(0)
    changing = [lungs.sample_presence(30, 2, rng).min() < 0.5 for _ in range(500)]
    assert np.mean(changing) == pytest.approx(0.6, abs=0.07)


def test_no_disease_has_a_grade_to_itself():
    by_grade = {}
    for index in range(210):
        patient = make_patient(index)
        findings = sample_findings(patient, "A", seeded_rng(0, "A", 2, index, 0))
        by_grade.setdefault(grade_severity(findings), set()).add(patient.disease)
    assert all(len(diseases) >= 4 for diseases in by_grade.values())


@given(seed=st.integers(0, 2**31 - 1), count=st.integers(0, 11), reserved=st.floats(0, 1))
@settings(max_examples=60)
def test_spread_positions_keep_their_distance_inside_the_window(seed, count, reserved):
    positions = spread_positions(count, 18, reserved=reserved, rng=np.random.default_rng(seed))
    assert len(positions) == count
    assert all(-9 - 1e-9 <= x <= 9 + 1e-9 for x in positions)
    assert all(gap >= reserved * 18 / count - 1e-9 for gap in np.diff(positions))


def test_spread_positions_are_irregular():
    rng = np.random.default_rng(0)
    gaps = np.array([np.diff(spread_positions(5, 18, reserved=0.45, rng=rng)) for _ in range(200)])
    assert np.median(gaps.max(axis=1) / gaps.min(axis=1)) > 2
