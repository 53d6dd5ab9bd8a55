from collections import Counter

import pytest

from lus_ray.clip import DISEASES, SEXES
from lus_ray.data.phantom.demographics import NUM_SITES, describe_patient
from lus_ray.data.phantom.patient import sample_patient
from lus_ray.data.phantom.scanner import sample_scanner

DEFAULTS = {"seed": 0, "domain": "A", "difficulty": 0.5, "probe": None, "confounder": None}


def describe(index, *, number=0, scanners="varied", **settings):
    settings = DEFAULTS | settings
    patient = sample_patient(index=index, **settings)
    seed, domain = settings["seed"], settings["domain"]
    scanner = sample_scanner(patient, domain, seed=seed, number=number, scanners=scanners)
    return patient, describe_patient(patient, scanner, domain, seed=seed)


@pytest.fixture(scope="module")
def cohort():
    return [describe(index) for index in range(140)]


def test_a_patient_is_the_same_person_in_every_clip_and_another_one_under_another_seed(cohort):
    assert describe(3, number=5) == cohort[3]
    assert describe(3, seed=1)[1] != cohort[3][1]


def test_every_subgroup_has_patients(cohort):
    about = [columns for _, columns in cohort]
    assert {row["sex"] for row in about} == set(SEXES)
    assert {row["site"] for row in about} == {f"site A{n + 1}" for n in range(NUM_SITES)}
    assert min(Counter(row["device"] for row in about).values()) > 20
    assert 18 <= min(row["age"] for row in about) < 40 < 80 < max(row["age"] for row in about)
    assert 15 <= min(row["bmi"] for row in about) < 22 < 28 < max(row["bmi"] for row in about)
    assert {describe(k, scanners="same")[1]["device"] for k in range(5)} == {"phantom device 2"}


def test_every_other_lung_disease_and_nothing_else_has_an_etiology(cohort):
    with_one = Counter(patient.disease for patient, row in cohort if row["etiology"])
    assert with_one == {"other lung disease": 140 // len(DISEASES)}
    assert {row["etiology"] for _, row in cohort} == {None, "bacterial", "viral", "other"}
