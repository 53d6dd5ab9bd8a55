"""A run folder as an experiment on frame scores and clip scores leaves it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from safetensors.torch import save_file

from tests.evaluation.run_folders import (
    SEVERITY,
    TEST,
    arm,
    identity,
    slug_of,
    write_rows,
    write_run,
)

METRICS = ("f1", "setting_1", "k1", "k7", "video_annotated", "a3", "average", "accuracy")
FRAMES = arm("frames", label="frame_severity", recipe={"epochs": 3})
LEAKY = arm("frames, all patients", label="frame_severity", rows={"overlap": True})
MAX_ARGMAX = arm("max-argmax", reads="frames", baseline=True)
UNINORM = arm("uninorm", reads="frames")
LEAKY_UNINORM = arm("uninorm on all patients", reads=LEAKY["name"])
ARMS = (FRAMES, MAX_ARGMAX, UNINORM, LEAKY, LEAKY_UNINORM)
GAP = {"text": "published protocol", "leaky": LEAKY_UNINORM["name"], "clean": "uninorm"}


def write_frame_run(
    out: Path,
    *,
    folds: Sequence[int] = (0, 1, 2),
    num_frames: int = 12,
    num_raters: int = 5,
    **facts: Any,
) -> Path:
    """Five arms: a frame model and two aggregators, and a leaky frame model with one."""
    write_run(out, ARMS, **{"metrics": METRICS, "gaps": [GAP], "supervision": "frames", **facts})
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


def truth(patient: str, number: int, num_frames: int) -> tuple[list[int], int]:
    """Frame scores that drift around the score of the clip, and that score."""
    place = 2 * TEST.index(patient) + number
    drift = place % 4 + 0.8 * np.sin(np.linspace(0, 5, num_frames) + place)
    scores = np.clip(np.round(drift), 0, 3).astype(int).tolist()
    return scores, place % 4


def raters_of(severity: int, patient: str, num_raters: int) -> list[int] | None:
    """Readings that are off by one for some raters; every third patient has none."""
    if TEST.index(patient) % 3 == 2 or not num_raters:
        return None
    rng = np.random.default_rng([severity, TEST.index(patient)])
    return np.clip(severity + rng.choice([-1, 0, 0, 0, 1], num_raters), 0, 3).tolist()


def write_frame_cell(
    out: Path,
    entry: dict[str, Any],
    fold: int,
    *,
    skill: float = 1.0,
    num_frames: int = 12,
    num_raters: int = 5,
    target: Any = "as it is",
) -> Path:
    """A prediction file with one line of outputs a frame; two clips a patient."""
    rng = np.random.default_rng([fold, int(10 * skill)])
    rows = []
    for patient, number in ((p, n) for p in TEST for n in range(2)):
        scores, severity = truth(patient, number, num_frames)
        walk = 0.6 / skill * np.cumsum(rng.standard_normal(num_frames)) / np.sqrt(num_frames)
        centre = np.array(scores) + walk + 0.2 * rng.standard_normal(num_frames)
        logits = -2 * (centre[:, None] - np.arange(4)) ** 2
        outputs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        rows.append(
            {
                **identity(f"{patient}-{number}", patient, fold, severity=severity, fps=25.0),
                "raters": raters_of(severity, patient, num_raters),
                "frame_severity": scores,
                "target": scores if target == "as it is" else target,
                "probability": outputs.mean(axis=0).tolist() if num_frames else [0.25] * 4,
                "outputs": outputs.tolist(),
            }
        )
    about = {"classes": list(SEVERITY), "multilabel": False, "by_frame": True}
    return write_rows(out, entry, fold, rows, about=about, target=pa.list_(pa.int8()))


def write_clip_cell(
    out: Path, entry: dict[str, Any], fold: int, *, skill: float, num_raters: int = 5
) -> Path:
    """A prediction file of clip scores for the clips of `write_frame_cell`."""
    rng = np.random.default_rng([fold, 7])
    rows = []
    for patient, number in ((p, n) for p in TEST for n in range(2)):
        severity = truth(patient, number, 4)[1]
        given = (1 - skill) * rng.dirichlet(np.ones(4)) + skill * np.eye(4)[severity]
        rows.append(
            {
                **identity(f"{patient}-{number}", patient, fold, severity=severity, fps=25.0),
                "raters": raters_of(severity, patient, num_raters),
                "target": severity,
                "probability": given.tolist(),
                "outputs": [given.tolist()],
            }
        )
    about = {"classes": list(SEVERITY), "multilabel": False}
    return write_rows(out, entry, fold, rows, about=about, target=pa.int32())


def write_neutral(out: Path, entry: dict[str, Any], fold: int, values: Sequence[float]) -> Path:
    """A checkpoint with nothing but neutral elements."""
    path = out / "cells" / slug_of(entry) / f"fold{fold}" / "checkpoint" / "weights.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"net.neutral": torch.tensor(values, dtype=torch.float64)}, path)
    return path
