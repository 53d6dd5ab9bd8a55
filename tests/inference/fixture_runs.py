"""Run folders for tests: cells with fresh weights, and tiny runs trained in this process."""

import json
from dataclasses import asdict
from functools import partial

from lus_ray.clip import frames_of, masks_of
from lus_ray.data import store
from lus_ray.data.loading.batches import InMemory, size_of
from lus_ray.data.transforms.view import View
from lus_ray.experiment import Arm, Experiment, Recipe, Rows
from lus_ray.folds import fixed_test
from lus_ray.nets import TSM, ArgmaxMean, RegSTN, UNet, Uninorm
from lus_ray.runs import predictions, run_cell
from lus_ray.runs.cell import Cell
from lus_ray.runs.layout import slug
from lus_ray.runs.plan import RunRequest
from lus_ray.runs.predictions import PredictionInfo
from lus_ray.runs.prepare import prepare
from lus_ray.tasks import (
    Biomarkers,
    ClipLabel,
    Ensemble,
    Expert,
    FrameScore,
    IntensityFeatures,
    VideoScore,
)
from lus_ray.tasks.segmentation import Segmentation
from lus_ray.training import checkpoint

CLIPS = View(num_frames=4, height=24, width=24, num_samples=2)
FRAMES = View(num_frames=1, height=32, width=32, num_samples=0)
PADDED = View(num_frames=1, height=20, width=30, num_samples=0, aspect=1.3, bicubic=True)
CV, LAST = 2, {"epochs": 1, "batch": 4, "lr": 1e-3, "select": "last"}

biomarkers = partial(Biomarkers, backbone=partial(TSM, width=8), view=CLIPS)
tree = partial(Expert, kind="DT", label="severity")
frames = partial(FrameScore, net=partial(RegSTN, width=8), view=FRAMES)
uninorm = partial(VideoScore, aggregator=Uninorm)
unet = partial(UNet, widths=(4, 8), dropout=0.5)
markers = partial(
    Segmentation, net=unet, scheme="markers", view=PADDED, monitor="union_dice", smooth=3
)
both = partial(Ensemble, members=(markers, markers))


def arm_entry(name, label="severity", **settings):
    return {"name": name, "label": label, "rows": asdict(Rows()), "recipe": None} | settings


def write_run(run, *entries):
    run.mkdir(parents=True, exist_ok=True)
    (run / "experiment.json").write_text(json.dumps({"experiment": "study", "arms": entries}))
    return run


def write_cell(run, arm, task, *, fold=0, seed=0, score=0.5, label="severity"):
    fold_name = Cell(arm, fold, seed=seed).fold_name
    folder = run / "cells" / slug(arm) / fold_name
    checkpoint.save(folder / "checkpoint", task(), checkpoint.describe(task), seed=0)
    scores = {} if score is None else {"score": score}
    (folder / "cost.json").write_text(json.dumps({"val_scores": scores}))
    about = PredictionInfo(arm, fold, label, ("a", "b"), False, "f" * 64, seed=seed)
    predictions.write(run / "predictions" / slug(arm) / f"{fold_name}.parquet", [], about)
    return folder


def train_run(experiment, data, out, *, folds=(0,)):
    out.mkdir(parents=True)
    plan = prepare(RunRequest(experiment, data=data, out=out, size="smoke"))
    pixels = load_pixels(experiment, data)
    for fold in folds:
        for arm in experiment.arms:
            run_cell.run(Cell(arm.name, fold), plan, pixels, lambda values: None)
    return out


def load_pixels(experiment, data):
    """All frames and masks of a store at the sizes of the views of an experiment."""
    rows = list(store.read(data))
    ids = {row["clip"]: mask for row in rows if (mask := masks_of(row)) is not None}
    views = [arm.task.keywords.get("view") for arm in experiment.arms] + [PADDED]
    frames_by_size, masks_by_size = {}, {}
    for view in filter(None, views):
        frames_by_size[size_of(view)] = {row["clip"]: view.resize(frames_of(row)) for row in rows}
        masks_by_size[size_of(view)] = {clip: view.resize_masks(m) for clip, m in ids.items()}
    return InMemory(frames_by_size, masks_by_size)


def study(name, metric, *arms):
    folds = fixed_test(parts=4, cv=CV)
    return Experiment(name=name, title=name.title(), folds=folds, arms=arms, metrics=(metric,))


LABELS = study(
    "labels", "auc",
    Arm("intensity", partial(IntensityFeatures, view=CLIPS)),
    Arm("prior", partial(Expert, kind="prior", label="severity", inputs="features"),
        label="severity", reads="intensity", baseline=True),
    Arm("biomarkers", biomarkers, Recipe(**LAST), label="biomarkers"),
    Arm("cross-fitted", biomarkers, Recipe(**LAST), label="biomarkers", reads="biomarkers",
        crossfit=2),
    Arm("network", partial(ClipLabel, backbone=partial(TSM, width=8), label="severity", view=CLIPS),
        Recipe(**LAST), label="severity"),
    Arm("tree", tree, label="severity", reads="biomarkers"),
    Arm("tree, cross-fitted", tree, label="severity", reads="cross-fitted"),
    Arm("neighbours, sf_ratio", partial(Expert, kind="NN", label="sf_ratio"),
        label="sf_ratio", reads="biomarkers"),
)  # fmt: skip

SCORES = study(
    "scores", "f1",
    Arm("frames", frames, Recipe(**LAST, draws=8), label="frame_severity"),
    Arm("argmax-mean", partial(VideoScore, aggregator=ArgmaxMean), label="severity",
        reads="frames", baseline=True),
    Arm("uninorm", uninorm, Recipe(**{**LAST, "batch": 0}), label="severity", reads="frames"),
)  # fmt: skip

MASKS = study(
    "masks",
    "union_dice",
    Arm("unet", markers, Recipe(**LAST, draws=8), label="markers masks"),
    Arm("unet again", markers, Recipe(**LAST, draws=8), label="markers masks"),
    Arm("ensemble", both, label="markers masks", members=("unet", "unet again")),
)
