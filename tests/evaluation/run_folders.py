"""Small run folders as a finished or unfinished experiment leaves them, and their contents."""

import json
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import lus_ray.folds as folds
from lus_ray.clip import BIOMARKERS, SCHEMA
from lus_ray.data.store import LIGHT_COLUMNS
from lus_ray.evaluation import report_json, results
from lus_ray.evaluation.results import RunResults
from lus_ray.evaluation.schema import ReportContents
from lus_ray.evaluation.scored_arms import ScoredArm
from lus_ray.folds import Fold

SEVERITY = ("0", "1", "2", "3")
LIGHT_FIELDS = [SCHEMA.field(name) for name in LIGHT_COLUMNS]
MATRIX = pa.list_(pa.list_(pa.float32()))

PROTOCOL = folds.fixed_test(parts=4, cv=3)
PATIENTS = [f"phantom/p{number:02d}" for number in range(24)]
TEST = tuple(PATIENTS[:12])
PARTS = [tuple(PATIENTS[12 + k :: 3]) for k in range(3)]
FOLDS = tuple(Fold(k, PARTS[(k + 1) % 3] + PARTS[(k + 2) % 3], PARTS[k], TEST) for k in range(3))


@dataclass(frozen=True)
class Computed:
    run: RunResults
    contents: ReportContents
    arms: dict[str, ScoredArm]

    def row(self, name):
        return next(row for row in self.contents.arms if row.name == name)


def compute(out, *, num_draws=50):
    run = results.read(out)
    return Computed(run, *report_json.compute(run, num_draws=num_draws))


def arm(name, label="severity", **settings):
    known = {"baseline": False, "start": None, "reads": None, "crossfit": 0, "recipe": None}
    return {"name": name, "label": label, **known, "task": {}, **settings}


def write_run(out, arms, **facts):
    out.mkdir(parents=True, exist_ok=True)
    data = {"clips": 48, "patients": 24, "fingerprint": "f" * 64, "sources": {"phantom": {}}}
    study = {"version": "0.1.0", "experiment": "biomarkers", "title": "Biomarkers", "size": "smoke"}
    protocol = {"seed": 0, "folds": PROTOCOL.describe(), "metrics": ["auc", "accuracy"]}
    experiment = {**study, "data": data, **protocol, "arms": list(arms), **facts}
    (out / "experiment.json").write_text(json.dumps(experiment))
    folds.write(FOLDS, out / "folds.json", protocol=PROTOCOL, seed=0)
    return out


def write_cell(
    out, entry, fold, *, skill=0.5, seed=0, target=None, num_clips=4, patients=TEST, **metadata
):
    multilabel = entry["label"] == "biomarkers"
    classes = BIOMARKERS if multilabel else SEVERITY
    truth = np.random.default_rng(7)
    names = [(p, f"{p}-{k}") for p in patients for k in range(num_clips)]
    rng = np.random.default_rng([seed, fold])
    if multilabel:
        labels = truth.integers(-1, 2, (len(names), len(classes)))
        noise = rng.random(labels.shape)
        probability = np.clip((1 - skill) * noise + skill * (labels == 1), 0.01, 0.99)
    else:
        labels = truth.integers(0, len(classes), len(names))
        noise = rng.dirichlet(np.ones(len(classes)), len(names))
        probability = (1 - skill) * noise + skill * np.eye(len(classes))[labels]
    target = labels.tolist() if target is None else target
    if entry["label"] is None:
        target = [None] * len(names)
    rows = [
        identity(clip, patient, fold, target=own, probability=chance, outputs=[chance])
        for (patient, clip), own, chance in zip(names, target, probability.tolist(), strict=True)
    ]
    kind = pa.list_(pa.int8()) if multilabel else pa.int32()
    about = {"classes": list(classes), "multilabel": multilabel, **metadata}
    return write_rows(out, entry, fold, rows, about=about, target=kind)


def identity(clip, patient, fold, **columns):
    known = {"source": "phantom", "height": 8, "width": 8, "sha256": "0", "features": [[0.0]]}
    who = {"clip": clip, "patient": patient, "group": patient, "fold": fold, "split": "test"}
    return {**dict.fromkeys(LIGHT_COLUMNS), **known, **who, **columns}


def write_rows(out, entry, fold, rows, *, about, target, more=()):
    trained = {"clip": "phantom/trained", "split": "train", "patient": PATIENTS[-1]}
    known = {"arm": entry["name"], "fold": fold, "label": entry["label"], "fingerprint": "f" * 64}
    known |= {"multilabel": False, "trained": about["classes"]}
    schema = pa.schema(
        [
            *LIGHT_FIELDS,
            *(("fold", pa.int32()), ("split", pa.string()), ("target", target)),
            *(("probability", pa.list_(pa.float32())), ("outputs", MATRIX), ("features", MATRIX)),
            *more,
        ],
        metadata={b"lus_ray.prediction": json.dumps({**known, **about}).encode()},
    )
    slug = slug_of(entry)
    path = out / "predictions" / slug / f"fold{fold}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([*rows, {**rows[0], **trained}], schema=schema), path)
    cell = out / "cells" / slug / f"fold{fold}"
    cell.mkdir(parents=True, exist_ok=True)
    cost = {"wall_s": 60.0, "cpu_s": 100.0, "gpu_s": 0.0, "peak_mb": 500.0, "epochs": 3}
    (cell / "cost.json").write_text(json.dumps({**cost, "notes": []}))
    if entry["recipe"]:
        rows = [
            {"epoch": e, "train_loss": 1 / (e + 1), "val_score": 0.4 + e / 10} for e in range(3)
        ]
        (cell / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def slug_of(entry):
    return "".join(c if c.isalnum() else "-" for c in entry["name"])


def write_pictures(out, entry, fold, pictures):
    folder = out / "cells" / slug_of(entry) / f"fold{fold}" / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(len(pictures)):
        (folder / f"{number}.svg").write_text("<?xml?><svg></svg>")
    captions = [{"file": f"{number}.svg", **own} for number, own in enumerate(pictures)]
    (folder / "captions.json").write_text(json.dumps(captions))
    return folder
