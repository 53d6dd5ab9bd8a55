"""A run folder as an experiment on frame scores and clip scores leaves it."""

import numpy as np
import pyarrow as pa
import torch
from safetensors.torch import save_file

from tests.evaluation import run_folders
from tests.evaluation.run_folders import SEVERITY, TEST, arm, identity, slug_of, write_rows

METRICS = ("f1", "setting_1", "k1", "k7", "video_annotated", "a3", "average", "accuracy")
FRAMES = arm("frames", label="frame_severity", recipe={"epochs": 3})
LEAKY = arm("frames, all patients", label="frame_severity", rows={"overlap": True})
MAX_ARGMAX = arm("max-argmax", reads="frames", baseline=True)
UNINORM = arm("uninorm", reads="frames")
LEAKY_UNINORM = arm("uninorm on all patients", reads=LEAKY["name"])
ARMS = (FRAMES, MAX_ARGMAX, UNINORM, LEAKY, LEAKY_UNINORM)
GAP = {"text": "published protocol", "leaky": LEAKY_UNINORM["name"], "clean": "uninorm"}


def write_frame_run(out, *, folds=(0, 1, 2), num_frames=12, num_raters=5, **facts):
    run_folders.write_run(
        out, ARMS, **{"metrics": METRICS, "gaps": [GAP], "supervision": "frames", **facts}
    )
    for fold in folds:
        for entry, skill in ((FRAMES, 1.0), (LEAKY, 3.0)):
            write_frame_cell(
                out, entry, fold, skill=skill, num_frames=num_frames, num_raters=num_raters
            )
        for entry, skill in ((MAX_ARGMAX, 0.3), (UNINORM, 0.4), (LEAKY_UNINORM, 0.48)):
            write_clip_cell(out, entry, fold, skill=skill, num_raters=num_raters)
            if "uninorm" in entry["name"]:
                write_neutral(out, entry, fold, [0.0, 0.1, 0.2, 0.3 + fold / 10])
    return out


def truth(patient, number, num_frames):
    """Frame scores that drift around the score of the clip, and that score."""
    index = 2 * TEST.index(patient) + number
    drift = index % 4 + 0.8 * np.sin(np.linspace(0, 5, num_frames) + index)
    return np.clip(np.round(drift), 0, 3).astype(int).tolist(), index % 4


def raters_of(severity, patient, num_raters):
    if TEST.index(patient) % 3 == 2 or not num_raters:
        return None
    rng = np.random.default_rng([severity, TEST.index(patient)])
    return np.clip(severity + rng.choice([-1, 0, 0, 0, 1], num_raters), 0, 3).tolist()


def write_clips(out, entry, fold, num_raters, predict, target):
    """Two clips a patient; `predict(clip, severity)` gives the columns of a prediction."""
    rows = []
    for clip in ((patient, number) for patient in TEST for number in range(2)):
        patient, severity = clip[0], truth(*clip, 4)[1]
        columns = {"severity": severity, "raters": raters_of(severity, patient, num_raters)}
        columns |= {"fps": 25.0, **predict(clip, severity)}
        rows.append(identity("{}-{}".format(*clip), patient, fold, **columns))
    about = {"classes": list(SEVERITY)}
    about |= {"by_frame": True} if entry["label"] == "frame_severity" else {}
    return write_rows(out, entry, fold, rows, about=about, target=target)


def write_frame_cell(
    out, entry, fold, *, skill=1.0, num_frames=12, num_raters=5, target="as it is"
):
    rng = np.random.default_rng([fold, int(10 * skill)])

    def predict(clip, severity):
        scores = truth(*clip, num_frames)[0]
        walk = 0.6 / skill * np.cumsum(rng.standard_normal(num_frames)) / np.sqrt(num_frames)
        centre = np.array(scores) + walk + 0.2 * rng.standard_normal(num_frames)
        logits = -2 * (centre[:, None] - np.arange(4)) ** 2
        outputs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        return {
            "frame_severity": scores,
            "target": scores if target == "as it is" else target,
            "probability": outputs.mean(axis=0).tolist() if num_frames else [0.25] * 4,
            "outputs": outputs.tolist(),
        }

    return write_clips(out, entry, fold, num_raters, predict, pa.list_(pa.int8()))


def write_clip_cell(out, entry, fold, *, skill, num_raters=5):
    rng = np.random.default_rng([fold, 7])

    def predict(clip, severity):
        values = (1 - skill) * rng.dirichlet(np.ones(4)) + skill * np.eye(4)[severity]
        return {"target": severity, "probability": values.tolist(), "outputs": [values.tolist()]}

    return write_clips(out, entry, fold, num_raters, predict, pa.int32())


def write_neutral(out, entry, fold, values):
    path = out / "cells" / slug_of(entry) / f"fold{fold}" / "checkpoint" / "weights.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"net.neutral": torch.tensor(values, dtype=torch.float64)}, path)
    return path
