"""A small run to serve and a clip to send: phantom clips, trained in this process.

The biomarkers study in its smoke size: its backbone and one expert of each label, on one fold.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from lus_ray.bench.inputs import write_video
from lus_ray.clip import frames_of
from lus_ray.data import store
from lus_ray.data.ingest import phantom
from lus_ray.data.ingest.pipeline import ingest
from lus_ray.data.loading.batches import InMemory, size_of
from lus_ray.experiment import Experiment
from lus_ray.orchestration import run_options
from lus_ray.runs import run_cell
from lus_ray.runs.cell import Cell
from lus_ray.runs.plan import RunRequest
from lus_ray.runs.prepare import prepare

BACKBONE = "biomarkers"
ARMS = (BACKBONE, *(f"MLP on {BACKBONE}, {label}" for label in ("severity", "sf_ratio", "disease")))
PHANTOM: dict[str, Any] = {"patients": 24, "clips": 2, "frames": 12, "size": 96}


def train_run(folder: Path) -> Path:
    """Train the arms; the folder of the run, beside the store of its clips."""
    study, data, out = experiment(), folder / "clips", folder / "run"
    ingest("phantom", None, data, **PHANTOM)
    plan = prepare(RunRequest(study, data=data, out=out, size="smoke"))
    view = study.arm(BACKBONE).task.keywords["view"]  # type: ignore[attr-defined]  # a partial
    rows = store.read(data)
    pixels = InMemory(
        {size_of(view): {row["clip"]: view.resize(frames_of(row)) for row in rows}}, {}
    )
    for arm in study.arms:
        run_cell.run(Cell(arm.name, 0), plan, pixels, lambda values: None)
    return out


def experiment() -> Experiment:
    """The study at its smoke size with the served arms and no published numbers."""
    study = run_options.apply_options(run_options.find_experiment("biomarkers"), "smoke")
    return replace(study.only(ARMS), claims=(), published={})


def write_clip(folder: Path) -> Path:
    """A phantom clip as a video that a client sends."""
    (row,) = phantom.clips(**{**PHANTOM, "patients": 1, "clips": 1})
    path = folder / "clip.mp4"
    write_video(path, row["frames"])
    return path
