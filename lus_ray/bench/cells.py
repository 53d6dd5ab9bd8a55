"""A run of small cells on two cores, its start included, against the same cells in other ways.

Three networks that score frames, on four folds: 12 cells of about a second each, on phantom clips
of 24 patients, two clips of 12 frames each, at 64 x 64.
Rivals: a plain loop of one process, on one and on two torch threads; and a pool of two processes
that stays for all runs, while each campaign forks its own. On one thread every value of every
prediction table is equal; two threads round differently: only clips, splits and targets are.
The same campaign on a Ray cluster that runs is what a larger one does; "added per cell" is the time
of both CPUs that it spends outside its cells.
"""

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import ray

from lus_ray.bench.cell_runs import Runs, cell_seconds, check_equal, phantom_store, two_processes
from lus_ray.bench.measure import Comparison, Result, Run, Timings, compare_timings
from lus_ray.data.transforms.view import View
from lus_ray.experiment import Arm, Experiment, Recipe
from lus_ray.folds import rotating
from lus_ray.nets import STN, FrameCNN, resnet18
from lus_ray.orchestration.cluster.connection import CELL_MODULE, connect
from lus_ray.tasks import FrameScore

TARGET, TARGET_PROCESSES, LIMIT_MS = 1.6, 1.0, 3000.0
NETWORKS = {"cnn": FrameCNN, "resnet18": resnet18, "stn": STN}
VIEW = View(num_frames=1, height=64, width=64, num_samples=0)
TWO_THREADS, PREDICTIONS = "one after another, 2 threads", ("probability", "outputs")


def compare(
    *, num_patients: int = 24, num_draws: int = 320, networks: tuple[str, ...] = tuple(NETWORKS)
) -> Iterator[tuple[str, Comparison | Result]]:
    """A campaign of small cells on two CPUs; few repeats, as one takes many seconds."""
    clips = {"patients": num_patients, "clips": 2, "frames": 12, "size": 64}
    slow: dict[str, Any] = {"children": True, "repeats": 2, "warmup": 0}
    with phantom_store(**clips, masks="none") as (root, data), two_processes() as pool:
        runs = Runs(experiment(networks, num_draws), data, root)
        loops: dict[str, Run] = {
            "one after another, 1 thread": partial(runs.run_in_loop, "loop", 1),
            TWO_THREADS: partial(runs.run_in_loop, "two", 2),
        }
        processes: dict[str, Run] = {"two processes that stay": partial(runs.run_in_pool, pool)}
        name, checked = f"{4 * len(networks)} cells", {"check": _check_fold, **slow}
        yield name, Comparison(runs.campaign, loops, target=TARGET, **checked)
        target = TARGET_PROCESSES
        yield "against processes", Comparison(runs.campaign, processes, target=target, **checked)
        yield "start and end of Ray", Comparison(_start_and_end, **slow)
        with connect(None, imports=CELL_MODULE):
            outside: list[float] = []
            campaign = partial(_run_campaign, runs, outside)
            yield "on a Ray cluster", Comparison(campaign, processes, **checked)
    yield "added per cell", compare_timings(Timings(np.array(outside), 0.0), {}, target=LIMIT_MS)


def experiment(networks: tuple[str, ...], num_draws: int) -> Experiment:
    """Networks of an eighth of the width that see so many frames in each of two epochs."""
    recipe = Recipe(epochs=2, batch=16, lr=1e-3, draws=num_draws, val_samples=2)
    arms = tuple(
        Arm(
            name,
            partial(FrameScore, view=VIEW, net=partial(NETWORKS[name], width=8)),
            recipe,
            label="frame_severity",
        )
        for name in networks
    )
    return Experiment(
        name="cells", title="Small cells", folds=rotating(4), arms=arms, metrics=("f1",)
    )


def _check_fold(ours: Run, theirs: Run, name: str) -> None:
    without = PREDICTIONS if name == TWO_THREADS else ()
    check_equal(ours(folds=(0,)), theirs(folds=(0,)), name, without=without)


def _run_campaign(runs: Runs, outside: list[float], folds: tuple[int, ...] = ()) -> Path:
    began = time.perf_counter()
    out = runs.campaign(folds)
    cpus_s = ray.cluster_resources()["CPU"] * (time.perf_counter() - began)
    inside_s = cell_seconds(out)
    outside.append((cpus_s - sum(inside_s)) / len(inside_s))
    return out


def _start_and_end() -> None:
    with connect(None, imports=CELL_MODULE):
        pass
