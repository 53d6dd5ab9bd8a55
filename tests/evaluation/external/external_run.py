"""A run of clip labels with validation predictions, and its evaluation on other patients."""

import json
from dataclasses import asdict

import numpy as np
import pyarrow as pa

from lus_ray.clip import BIOMARKERS
from lus_ray.folds import Fold
from lus_ray.metrics.temperature import apply_temperature
from tests.evaluation.run_folders import FOLDS, SEVERITY, TEST, arm, identity, write_rows, write_run

PRIOR = arm("class prior", baseline=True)
NET = arm("net", recipe={"epochs": 3})
REFIT = arm("refit", rows={"with_val": True})
ON_REFIT = arm("on refit", reads="refit")
LEAKY = arm("split by clip", rows={"clips": True})
SIGNS = arm("signs", label="biomarkers", recipe={"epochs": 3})
ARMS = (PRIOR, NET, REFIT, ON_REFIT, LEAKY, SIGNS)

EXTERNAL = tuple(f"hospital/p{number:02d}" for number in range(30))
OVERCONFIDENCE = 0.5
"""Probabilities are calibrated before they are sharpened to this temperature."""


def write_external(tmp, *, num_clips=10, entries=ARMS, facts=None, lacking=(), **settings):
    """Folders of a run and of its evaluation, both of folds 0 and 1; `REFIT` has no cells."""
    run, evaluation = tmp / "run", tmp / "evaluation"
    for out in (run, evaluation):
        write_run(out, entries, metrics=["auc", "accuracy", "micro_f1"], **settings)
    assigned = [Fold(fold.number, (), (), EXTERNAL) for fold in FOLDS]
    plan = {"folds": [asdict(fold) for fold in assigned]}
    (evaluation / "folds.json").write_text(json.dumps(plan))
    for entry in (own for own in entries if own is not REFIT):
        for fold in FOLDS[:2]:
            write_splits(run, entry, fold, {"val": fold.val, "test": TEST}, num_clips=num_clips)
            write_splits(
                evaluation, entry, fold, {"test": EXTERNAL},
                num_clips=3, facts=facts or known_facts, lacking=lacking,
            )  # fmt: skip
    return run, evaluation


def known_facts(patient, clip):
    """Two sexes, ages 20 to 78, and a site of three patients; the device of no clip is known."""
    number = int(patient[-2:])
    site = "small" if number < 3 else "large" if number % 2 else None
    return {"sex": ("female", "male")[number % 2], "age": 20.0 + 2 * number, "site": site}


def write_splits(out, entry, fold, patients, *, num_clips, facts=lambda *_: {}, lacking=()):
    rows = []
    for split, names in patients.items():
        for patient in names:
            for number in range(num_clips):
                columns = {"split": split, **facts(patient, number)}
                columns |= predict(entry, fold.number, patient, number, lacking)
                rows.append(identity(f"{patient}-{number}", patient, fold.number, **columns))
    multilabel = entry["label"] == "biomarkers"
    about = {"classes": list(BIOMARKERS if multilabel else SEVERITY), "multilabel": multilabel}
    kind = pa.list_(pa.int8()) if multilabel else pa.int32()
    return write_rows(out, entry, fold.number, rows, about=about, target=kind)


def predict(entry, fold, patient, number, lacking):
    rng = np.random.default_rng([fold, number, *patient.encode()])
    if entry["label"] == "biomarkers":
        yes = rng.random(len(BIOMARKERS))
        target = (rng.random(len(BIOMARKERS)) < yes).astype(int)
        target[rng.random(len(BIOMARKERS)) < 0.3] = -1
        pair = apply_temperature(np.stack([1 - yes, yes], axis=1), OVERCONFIDENCE)
        return {"target": target.tolist(), "probability": pair[:, 1].tolist()}
    truth = np.random.default_rng([number, *patient.encode()])
    known = [k for k in range(4) if SEVERITY[k] not in lacking]
    if entry["baseline"]:
        return {"target": int(truth.choice(known)), "probability": [0.25] * 4}
    target, logits = int(truth.choice(known)), rng.normal(size=4)
    chance = np.exp(2 * logits + 4 * np.eye(4)[target])[None]  # calibrated for these logits
    probability = apply_temperature(chance / chance.sum(), OVERCONFIDENCE)[0]
    return {"target": target, "probability": probability.tolist()}
