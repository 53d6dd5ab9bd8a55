"""Cards of models, and what they allow a response to claim, from simulated prediction tables."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from lus_ray.clip import BIOMARKERS, SCHEMA
from lus_ray.data.labels import CLASSES
from lus_ray.evaluation.method_names import name_method
from lus_ray.inference.model_card import is_above
from lus_ray.inference.model_reports import with_reports
from lus_ray.inference.model_selection import select_models
from lus_ray.inference.schema import BiomarkerGroup
from lus_ray.inference.summaries import (
    add_prediction,
    best_expert,
    describe_biomarkers,
    write_banner,
)
from lus_ray.runs import predictions
from lus_ray.runs.manifest import ArmRecord
from lus_ray.runs.predictions import PredictionInfo
from lus_ray.tasks import Expert
from lus_ray.tasks.sklearn_expert import EXPERT_NAMES, EXPERTS, PLAIN
from tests.inference.fixture_runs import arm_entry, biomarkers, write_cell, write_run

SEVERITIES = CLASSES["severity"]
ARMS = tuple(f"expert{n}" for n in range(4))
PATIENTS = {"train": 12, "val": 40, "test": 4}
GROUPS = [BiomarkerGroup("A-lines", 0, 5)]


def clip_rows(targets, probabilities, *, source="phantom"):
    """A row per split, patient and clip; the functions give target and probability by split."""
    rows = []
    for split, patients in PATIENTS.items():
        for n in range(2 * patients):
            name = f"{split}{n}"
            clip = dict.fromkeys(SCHEMA.names) | {
                "clip": name, "patient": f"{split}{n // 2}", "source": source, "group": name,
                "height": 8, "width": 8, "sha256": name,
            }  # fmt: skip
            target = targets(split, n)
            array = np.asarray(probabilities(split, target), np.float32)
            rows.append(predictions.make_row(
                clip, fold=0, split=split, target=target, prediction={"probability": array}
            ))  # fmt: skip
    return rows


def write_table(run, arm, rows, classes, *, label, multilabel=False):
    info = PredictionInfo(arm, 0, label, tuple(classes), multilabel, "f" * 64)
    predictions.write(run / "predictions" / arm / "fold0.parquet", rows, info)


def guess(rng, *, skill=0.0):
    """Probabilities of a classifier; without skill they ignore the target."""

    def probability(split, target):
        p = rng.dirichlet(np.ones(4))
        p[target] += skill
        return p / p.sum()

    return probability


def simulate(run, rng, skills, *, baseline=0.0):
    """New prediction tables of severity experts with these skills; the models of the run."""
    targets = {(split, n): int(rng.integers(4)) for split in PATIENTS for n in range(99)}
    for arm, skill in {"base": baseline, **dict(zip(ARMS, skills, strict=True))}.items():
        rows = clip_rows(lambda split, n: targets[split, n], guess(rng, skill=skill))
        write_table(run, arm, rows, SEVERITIES, label="severity")
    return with_reports([m for m in select_models([run]) if m.label == "severity"])


def describe(models):
    """The group of experts that all are certain of severity 2."""
    groups = []
    prediction = {"probability": np.array([0.0, 0.0, 1.0, 0.0])}
    for model in models:
        add_prediction(groups, model, SEVERITIES, "decision tree", prediction)
    (group,) = groups
    return group


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of demo size: a backbone, experts on it, and a baseline on image statistics."""
    expert = {"name": "Expert", "arguments": {"kind": "logistic", "label": "severity"}}
    run = write_run(
        tmp_path_factory.mktemp("runs") / "run",
        arm_entry("intensity", None, task={"name": "IntensityFeatures", "arguments": {}}),
        arm_entry("base", baseline=True, reads="intensity", task=expert),
        arm_entry("signs", "biomarkers"),
        *(arm_entry(arm, reads="signs") for arm in ARMS),
    )
    manifest = json.loads((run / "experiment.json").read_text())
    (run / "experiment.json").write_text(json.dumps(manifest | {"size": "demo"}))
    write_cell(run, "signs", biomarkers, label="biomarkers")
    for arm in ("base", *ARMS):
        write_cell(run, arm, partial(Expert, kind="DT", label="severity"))
    return run


@pytest.mark.slow
def test_a_model_at_chance_is_never_summarised(run):
    for seed in range(8):
        group = describe(simulate(run, np.random.default_rng(seed), [0.0] * len(ARMS)))
        assert [answer.in_summary for answer in group.answers] == [False] * len(ARMS)
        assert all("did not beat logistic regression" in a.reason for a in group.answers)
        assert group.summary == (
            "No model of severity clearly beat the baseline on validation; nothing is summarised."
        )


def test_only_models_that_beat_the_baseline_are_summarised(run):
    models = simulate(run, np.random.default_rng(0), [0.0, 1.0, 0.6, 0.2], baseline=0.2)
    group = describe(models)
    assert [answer.in_summary for answer in group.answers] == [False, True, True, False]
    assert group.baseline == "logistic regression on image statistics"
    assert group.summary == (
        "Severity 2: all 2 models that beat the baseline say so (mean probability 1.00)."
    )
    assert best_expert(models).arm == ARMS[1]


def test_a_card_describes_the_training_data_and_the_validation(run):
    models = simulate(run, np.random.default_rng(0), [0.4] * len(ARMS))
    report = models[0].report
    card = report.card
    assert report.title == "severity: decision tree on signs"
    assert (card.dataset, card.synthetic, card.size) == ("phantom clips", True, "demo")
    assert (card.patients, card.clips, card.validation_patients) == (12, 24, 40)
    assert card.validated.low < card.validated.value < card.validated.high
    assert card.difference.low > 0
    assert card.summary.startswith(
        "Trained on 24 clips of 12 patients (phantom clips; synthetic, demo size); AUC "
    )
    assert write_banner(models) == (
        "These models saw synthetic clips only (demo size). "
        "Their answers about a real patient mean nothing."
    )


def test_the_best_model_of_few_patients_is_not_summarised(run, monkeypatch):
    monkeypatch.setitem(PATIENTS, "val", 19)
    group = describe(simulate(run, np.random.default_rng(0), [2.0] * len(ARMS)))
    assert not any(answer.in_summary for answer in group.answers)
    assert group.answers[0].reason.endswith("on 19 validation patients, fewer than 20")


def test_many_models_need_more_evidence_than_one():
    draws = np.random.default_rng(0).normal(0.1, 0.04, 1000)
    at = {"patients": 60, "limit": 0.0}
    assert is_above(draws, 0.1, models=1, **at)
    assert not is_above(draws, 0.1, models=20, **at)
    assert not is_above(draws, 0.1, models=1, patients=19, limit=0.0)


@pytest.fixture
def backbone(run):
    """Predicts signs perfectly; sign 1 is in every training clip, sign 2 in none."""

    def targets(split, n):
        target = np.random.default_rng(n).integers(0, 2, len(BIOMARKERS))
        if split == "train":
            target[1:3] = 1, 0
        return target.tolist()

    rows = clip_rows(targets, lambda split, target: 0.1 + 0.8 * np.array(target))
    write_table(run, "signs", rows, BIOMARKERS, label="biomarkers", multilabel=True)
    (model,) = [m for m in select_models([run]) if m.kind == "backbone"]
    return with_reports([model])[0]


def test_a_sign_without_training_labels_is_never_a_finding(backbone):
    probability = [0.6, 1.0, 1.0, 0.9, *[0.4] * (len(BIOMARKERS) - 4)]
    signs = describe_biomarkers(backbone, GROUPS, probability)
    assert signs.trained[:4] == [True, False, False, True]
    assert signs.findings == [3, 0]
    assert signs.score[:4] == [1.0, None, None, 1.0]


def test_a_backbone_at_chance_has_no_findings(run, backbone):
    rng = np.random.default_rng(0)
    rows = clip_rows(
        lambda split, n: rng.integers(0, 2, len(BIOMARKERS)).tolist(),
        lambda split, target: rng.random(len(BIOMARKERS)),
    )
    write_table(run, "signs", rows, BIOMARKERS, label="biomarkers", multilabel=True)
    signs = describe_biomarkers(with_reports([backbone])[0], GROUPS, [1.0] * len(BIOMARKERS))
    assert signs.findings == []
    assert signs.reason.startswith("the network did not beat chance: AUC 5")


def test_a_run_without_the_columns_of_a_card_is_served_as_unknown(run, backbone):
    rows = clip_rows(lambda split, n: None, lambda split, target: np.zeros(3))
    write_table(run, "signs", rows, ("a", "b"), label="biomarkers", multilabel=True)
    (model,) = with_reports([backbone])
    assert model.report.card.validated is None
    assert describe_biomarkers(model, GROUPS, [1.0] * len(BIOMARKERS)).findings == []
    assert write_banner([model]) is not None


@pytest.mark.parametrize(
    ("synthetic", "size", "words"),
    [
        (False, "laptop", None),
        (False, "full", None),
        (False, "demo", "trained only to try the software (demo size)"),
        (True, "laptop", "saw synthetic clips only. Their answers"),
    ],
)
def test_the_banner_warns_of_trial_sizes_and_of_synthetic_clips(backbone, synthetic, size, words):
    card = replace(backbone.report.card, synthetic=synthetic, size=size)
    banner = write_banner([replace(backbone, report=replace(backbone.report, card=card))])
    assert banner is None if words is None else words in banner


def test_every_kind_of_classifier_has_a_full_name():
    assert set(EXPERT_NAMES) == {*EXPERTS, *PLAIN}
    assert EXPERT_NAMES["SVM"] == "support vector machine"


@pytest.mark.parametrize(
    ("task", "kind", "reads", "name"),
    [
        ("Expert", "SVM", "signs", "support vector machine on signs"),
        ("Expert", "logistic", "grey", "logistic regression on image statistics"),
        ("BiomarkerClassifiers", "logistic", "grey", "logistic regression on image statistics"),
        ("Expert", "prior", "grey", "class frequencies"),
        ("VideoScore", None, "frames", "an arm"),
    ],
)
def test_methods_are_named_in_full(task, kind, reads, name):
    arms = {"grey": ArmRecord(name="grey", task={"name": "IntensityFeatures", "arguments": {}})}
    arm = ArmRecord(name="an arm", reads=reads, task={"name": task, "arguments": {"kind": kind}})
    assert name_method(arm, arms) == name
