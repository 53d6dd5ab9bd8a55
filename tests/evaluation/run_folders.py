"""Small run folders as a finished or unfinished experiment leaves them, and their contents."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lus_ray import folds
from lus_ray.clip import BIOMARKERS, SCHEMA
from lus_ray.data.store import LIGHT_COLUMNS
from lus_ray.evaluation import report_json, results
from lus_ray.evaluation.results import RunResults
from lus_ray.evaluation.schema import ArmResult, ReportContents
from lus_ray.evaluation.scored_arms import ScoredArm
from lus_ray.folds import Fold

SEVERITY = ("0", "1", "2", "3")
SCHEMA_OF_PREDICTIONS = [SCHEMA.field(name) for name in LIGHT_COLUMNS]


PROTOCOL = folds.fixed_test(parts=4, cv=3)
PATIENTS = [f"phantom/p{number:02d}" for number in range(24)]
TEST = tuple(PATIENTS[:12])
PARTS = [tuple(PATIENTS[12 + k :: 3]) for k in range(3)]
FOLDS = tuple(Fold(k, PARTS[(k + 1) % 3] + PARTS[(k + 2) % 3], PARTS[k], TEST) for k in range(3))


@dataclass(frozen=True)
class Computed:
    """The contents of a report with what they were computed from."""

    run: RunResults
    contents: ReportContents
    arms: dict[str, ScoredArm]

    def row(self, name: str) -> ArmResult:
        return next(row for row in self.contents.arms if row.name == name)


def compute(out: Path, *, num_draws: int = 50) -> Computed:
    run = results.read(out)
    return Computed(run, *report_json.compute(run, num_draws=num_draws))


def arm(name: str, label: str | None = "severity", **settings: Any) -> dict[str, Any]:
    """An entry of `arms` in experiment.json."""
    known = {"baseline": False, "start": None, "reads": None, "crossfit": 0, "recipe": None}
    return {"name": name, "label": label, **known, "task": {}, **settings}


def write_run(out: Path, arms: Sequence[dict[str, Any]], **facts: Any) -> Path:
    """experiment.json and folds.json of three folds with one test part of twelve patients."""
    out.mkdir(parents=True, exist_ok=True)
    experiment = {
        "version": "0.1.0",
        "experiment": "biomarkers",
        "title": "Biomarkers",
        "size": "smoke",
        "seed": 0,
        "data": {"clips": 48, "patients": 24, "fingerprint": "f" * 64, "sources": {"phantom": {}}},
        "folds": PROTOCOL.describe(),
        "metrics": ["auc", "accuracy"],
        "arms": list(arms),
        "published": {},
        "claims": [],
        **facts,
    }
    (out / "experiment.json").write_text(json.dumps(experiment))
    folds.write(FOLDS, out / "folds.json", protocol=PROTOCOL, seed=0)
    return out


def write_cell(
    out: Path,
    entry: dict[str, Any],
    fold: int,
    *,
    skill: float = 0.5,
    seed: int = 0,
    classes: Sequence[str] = SEVERITY,
    target: Sequence[Any] | None = None,
    num_clips: int = 4,
    metadata: dict[str, Any] | None = None,
    patients: Sequence[str] = TEST,
) -> Path:
    """One prediction file with its cost and epochs; `skill` 0 is guessing, 1 is nearly sure."""
    multilabel = entry["label"] == "biomarkers"
    classes = BIOMARKERS if multilabel else classes
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
    given = labels.tolist() if target is None else list(target)
    rows = [
        {
            **identity(clip, patient, fold),
            "target": None if entry["label"] is None else given[i],
            "probability": probability[i].tolist(),
            "outputs": [probability[i].tolist()],
        }
        for i, (patient, clip) in enumerate(names)
    ]
    kind = pa.list_(pa.int8()) if multilabel else pa.int32()
    about = {"classes": list(classes), "multilabel": multilabel, **(metadata or {})}
    return write_rows(out, entry, fold, rows, about=about, target=kind)


def identity(clip: str, patient: str, fold: int, **columns: Any) -> dict[str, Any]:
    """What a row of a prediction table has beside its target and its predictions."""
    known = {"source": "phantom", "height": 8, "width": 8, "sha256": "0", "features": [[0.0]]}
    who = {"clip": clip, "patient": patient, "group": patient, "fold": fold, "split": "test"}
    return {**dict.fromkeys(LIGHT_COLUMNS), **known, **who, **columns}


def write_rows(
    out: Path,
    entry: dict[str, Any],
    fold: int,
    rows: list[dict[str, Any]],
    *,
    about: dict[str, Any],
    target: pa.DataType,
    more: Sequence[pa.Field] = (),
) -> Path:
    """A prediction file of these rows and one of a training clip, its cost and its epochs."""
    trained = {"clip": "phantom/trained", "split": "train", "patient": PATIENTS[-1]}
    known = {"arm": entry["name"], "fold": fold, "label": entry["label"], "fingerprint": "f" * 64}
    schema = pa.schema(
        [
            *SCHEMA_OF_PREDICTIONS,
            pa.field("fold", pa.int32()),
            pa.field("split", pa.string()),
            pa.field("target", target),
            pa.field("probability", pa.list_(pa.float32())),
            pa.field("outputs", pa.list_(pa.list_(pa.float32()))),
            pa.field("features", pa.list_(pa.list_(pa.float32()))),
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
        epochs = [
            {"epoch": e, "train_loss": 1 / (e + 1), "val_score": 0.4 + 0.1 * e} for e in range(3)
        ]
        (cell / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in epochs))
    return path


def slug_of(entry: dict[str, Any]) -> str:
    """The folder name of an arm."""
    return "".join(c if c.isalnum() else "-" for c in entry["name"])


def write_pictures(
    out: Path, entry: dict[str, Any], fold: int, pictures: Sequence[dict[str, str]]
) -> Path:
    """Pictures of a cell with these captions: `example`, `caption` and perhaps `kind`."""
    folder = out / "cells" / slug_of(entry) / f"fold{fold}" / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(len(pictures)):
        (folder / f"{number}.svg").write_text("<?xml?><svg></svg>")
    captions = [{"file": f"{number}.svg", **own} for number, own in enumerate(pictures)]
    (folder / "captions.json").write_text(json.dumps(captions))
    return folder
