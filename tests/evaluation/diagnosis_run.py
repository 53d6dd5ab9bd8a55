"""A run folder as an experiment leaves it whose frames inherit the diagnosis of their clip."""

import numpy as np
import pyarrow as pa

from lus_ray.metrics import frames
from tests.evaluation.run_folders import TEST, arm, identity, write_rows, write_run

CLASSES = ("healthy", "other lung disease", "COVID-19 pneumonia")
NONE, DENSE = arm("none", label="diagnosis"), arm("from dense", label="diagnosis")
METRICS = [*frames.inherited_metrics(CLASSES), "accuracy", "macro_f1", "auc"]
CLAIM = {"text": "", "metric": "frame_accuracy", "better": "from dense", "than": "none"}
GAP = {"text": "twice", "leaky": "from dense", "clean": "none"}
PAPER = {"none": {"frame_accuracy": [0.824, None], "frame_f1 healthy": [0.795, None]}}


def write_diagnosis_run(out):
    write_run(out, [NONE, DENSE], metrics=METRICS, claims=[CLAIM], gaps=[GAP], published=PAPER)
    for fold in range(3):
        write_diagnosis(out, NONE, fold, skill=0.2)
        write_diagnosis(out, DENSE, fold, skill=0.5)
    return out


def write_diagnosis(out, entry, fold=0, *, skill=0.5, annotated=True, classes=CLASSES, **about):
    rng = np.random.default_rng([fold, int(100 * skill)])
    rows = []
    for number, patient in enumerate(TEST):
        target, num_frames = number % 3, 3 + number % 3
        outputs = (1 - skill) * rng.dirichlet(np.ones(3), num_frames) + skill * np.eye(3)[target]
        columns = {"target": target if annotated else None, "outputs": outputs.tolist()}
        columns["probability"] = outputs.mean(axis=0).tolist()
        rows.append(identity(f"{patient}-0", patient, fold, **columns))
    known = {"classes": list(classes), "inherited": True, **about}
    return write_rows(out, entry, fold, rows, about=known, target=pa.int32())
