"""Which studies and arms a store can run, and how many patients their folds have."""

import json

import numpy as np
import pytest

from lus_ray.clip import make_row
from lus_ray.data import store
from lus_ray.orchestration import feasibility


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Six healthy and six diseased patients, and one of whom nothing is known."""
    folder = tmp_path_factory.mktemp("clips")
    with store.Writer(folder, "t") as writer:
        for number in range(13):
            disease = ("healthy", "COVID-19 pneumonia")[number % 2] if number else None
            names = {"clip": f"t/{number}", "patient": f"t/p{number}", "source": "t"}
            frames = np.full((1, 4, 4), number, np.uint8)
            writer.add(make_row(frames, **names, disease=disease))
    return folder


@pytest.fixture(scope="module")
def found(clips):
    return {
        study.study + (f" {study.label}" if study.label else ""): study
        for study in feasibility.check_studies(clips)
    }


def test_a_study_without_its_labels_cannot_run_and_says_why(found):
    reasons = {name: study.reason for name, study in found.items()}
    assert reasons["frame_scores"] == "no clip has frame_severity"
    assert reasons["biomarkers"] == ""
    assert "no clip of domain 'covid'" in reasons["bline_adaptation"]


def test_arms_that_lack_their_label_are_grouped_by_reason(found):
    study = found["biomarkers"]
    assert set(study.skipped) == {
        "no clip has severity", "no clip has sf_ratio", "no clip has biomarkers",
    }  # fmt: skip
    assert "e2e severity from biomarkers" in study.skipped["no clip has severity"]
    num_arms = study.num_arms + sum(map(len, study.skipped.values()))
    assert num_arms == len(feasibility.run_options.find_experiment("biomarkers").arms)


def test_patients_of_each_class_are_counted_over_the_folds(found):
    study = found["classify disease"]
    assert study.num_folds == 3
    assert study.patients == {
        "disease": {
            "healthy": {"train": (3, 3), "val": (1, 1), "test": (2, 2)},
            "COVID-19 pneumonia": {"train": (3, 3), "val": (1, 1), "test": (2, 2)},
        }
    }
    assert study.notes[0] == "1 of 13 clips skipped: they have no disease"


def test_the_text_names_the_command_and_json_holds_the_same(found, clips):
    lines = feasibility.to_text(list(found.values()), clips).splitlines()
    at = lines.index(f"lus run classify --data {clips} --label disease: all 4 arms, 3 folds")
    assert lines[at + 2].split() == ["healthy", "3", "1", "2"]
    assert max(map(len, lines[at + 1 :])) <= feasibility.WIDTH + len(str(clips))
    contents = json.loads(json.dumps(feasibility.to_json(found.values())))
    assert [entry["study"] for entry in contents] == [study.study for study in found.values()]


def test_a_diagnosis_has_its_pneumonia_where_the_etiology_is_known(tmp_path):
    with store.Writer(tmp_path, "t") as writer:
        for number in range(12):
            healthy = {"disease": "healthy"}
            pneumonia = {"disease": "other lung disease", "etiology": "viral"}
            names = {"clip": f"t/{number:02}", "patient": f"t/p{number:02}", "source": "t"}
            frames = np.full((1, 4, 4), number, np.uint8)
            writer.add(make_row(frames, **names, **(pneumonia if number % 2 else healthy)))
    found = {study.study: study for study in feasibility.check_studies(tmp_path)}
    assert list(found["reverse_transfer"].patients["diagnosis"]) == ["healthy", "pneumonia"]
