"""Hand-written folders of unfinished runs: a few small files per cell."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from lus_ray.runs.cell import Cell
from lus_ray.runs.layout import slug

NOW = 1_000_000.0
Scores = Sequence[float | None]


def arm(name: str, **settings: Any) -> dict[str, Any]:
    """An entry of `arms` in experiment.json; ten epochs by default."""
    return {
        "name": name, "label": "severity", "baseline": False, "start": None, "reads": None,
        "members": [], "crossfit": 0, "recipe": {"epochs": 10}, "task": {"name": "Biomarkers"},
        "search": None, **settings,
    }  # fmt: skip


def write_run(out: Path, *arms: dict[str, Any], num_folds: int = 2, **facts: Any) -> Path:
    """A run of these arms in which nothing has started."""
    out.mkdir(parents=True, exist_ok=True)
    record = {"experiment": "study", "title": "A study", "size": "smoke", "arms": list(arms)}
    record |= facts
    (out / "experiment.json").write_text(json.dumps(record))
    folds = {"folds": [{"number": fold, "test": []} for fold in range(num_folds)]}
    (out / "folds.json").write_text(json.dumps(folds))
    return out


def write_cell(
    out: Path, name: str, fold: int, *, scores: Scores = (), num_starts: int = 1,
    error: str | None = None, finished: bool = False, seconds: float = 20.0,
    sample: int | None = None, began: float = NOW - 50, seed: int = 0,
) -> Path:  # fmt: skip
    """Write the files of a started cell; returns its folder."""
    fold_name = Cell(name, fold, seed=seed).fold_name
    folder = out / "cells" / slug(name) / fold_name
    predictions = out / "predictions" / slug(name) / f"{fold_name}.parquet"
    if sample is not None:
        folder /= f"sample{sample}"
        predictions = predictions.parent / "samples" / f"fold{fold}-{sample}.parquet"
    folder.mkdir(parents=True, exist_ok=True)
    lines = [{"epoch": n, "val_score": score} for n, score in enumerate(scores)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if num_starts:
        start = {"node": "node-a", "pid": 7, "began": began}
        (folder / "starts.json").write_text(json.dumps([start] * num_starts))
    if error is not None:
        (folder / "error.txt").write_text(f"Traceback\n  of many lines\n{error}\n")
    if finished:
        cost = {"wall_s": seconds, "node": "node-a", "val_scores": {"score": 0.75}}
        (folder / "cost.json").write_text(json.dumps(cost))
        predictions.parent.mkdir(parents=True, exist_ok=True)
        predictions.write_bytes(b"")
    return folder


def write_status(out: Path, *, beat: float = NOW, **settings: Any) -> None:
    """Write campaign.json of a driver that has run for a hundred seconds."""
    status = {
        "process": 1, "host": "head", "address": "local", "dashboard": None, "began": NOW - 100,
        "beat": beat, "ended": None, "outcome": None, "running": {}, "failed": {}, "said": [],
        **settings,
    }  # fmt: skip
    (out / "campaign.json").write_text(json.dumps(status))


def write_mixed_run(out: Path) -> Path:
    """Three arms on two folds: a cell in every state but interrupted."""
    write_run(out, arm("first"), arm("second", reads="first"), arm("<b>third</b>"))
    write_cell(out, "first", 0, scores=[0.5, 0.75], finished=True, seconds=200)
    write_cell(out, "first", 1, error="the loss is nan")
    write_cell(out, "second", 0, scores=[0.25, 0.5, 0.375], num_starts=2)
    running = running_cells("second/fold0")
    write_status(out, running=running, dashboard="127.0.0.1:8265", said=[[NOW, "a line"]])
    return out


def running_cells(*names: str, since: float = NOW - 50) -> dict[str, Any]:
    return {name: {"since": since, "epoch": None, "score": None} for name in names}


def parse_metrics(text: str, prefix: str = "lus_") -> dict[tuple[str, ...], float]:
    """Values by metric name and labels, as Prometheus reads them."""
    return {
        (sample.name, *(sample.labels[k] for k in ("state", "arm", "fold") if k in sample.labels)):
            sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith(prefix)
    }  # fmt: skip
