"""Small cells in parallel on a Ray cluster, against the same cells one after another.

Three networks that score frames, on four folds: 12 cells of about a second each, on phantom clips
of 24 patients, two clips of 12 frames each, at 64 x 64.
Rivals: a plain loop of one process, on one and on two torch threads; and a pool of two processes
that stays for all runs, while each campaign starts its own two. On one thread every value of every
prediction table is equal; two threads round differently: only clips, splits and targets are.
"added per cell" is the time of both CPUs that a campaign spends outside its cells.
"""

import time
from collections.abc import Iterator
from dataclasses import replace
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
PREDICTIONS = ("probability", "outputs")


def compare(
    *, num_patients: int = 24, num_draws: int = 320, networks: tuple[str, ...] = tuple(NETWORKS)
) -> Iterator[tuple[str, Comparison | Result]]:
    """A campaign of small cells on two CPUs; few repeats, as one takes many seconds."""
    clips = {"patients": num_patients, "clips": 2, "frames": 12, "size": 64}
    slow: dict[str, Any] = {"children": True, "repeats": 2, "warmup": 0}
    with phantom_store(**clips, masks="none") as (root, data), two_processes() as pool:
        runs = Runs(experiment(networks, num_draws), data, root)
        yield "start and end of Ray", Comparison(_start_and_end, **slow)
        with connect(None, imports=CELL_MODULE):
            ours = runs.campaign(folds=(0,))
            loop = runs.run_in_loop("loop", 1, (0,))
            check_equal(ours, loop, "one after another")
            check_equal(ours, runs.run_in_pool(pool, (0,)), "two processes")
            two = runs.run_in_loop("loop on 2 threads", 2, (0,))
            check_equal(ours, two, "one after another, 2 threads", without=PREDICTIONS)
            outside: list[float] = []
            rivals: dict[str, Run] = {
                "one after another, 1 thread": partial(runs.run_in_loop, "loop", 1),
                "one after another, 2 threads": partial(runs.run_in_loop, "two", 2),
                "two processes that stay": partial(runs.run_in_pool, pool),
            }
            measured = Comparison(partial(_run_campaign, runs, outside), rivals, **slow).measure(2)
    *loops, processes = measured.rivals
    yield f"{4 * len(networks)} cells", replace(measured, rivals=tuple(loops), target=TARGET)
    yield "against processes", replace(measured, rivals=(processes,), target=TARGET_PROCESSES)
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


def _run_campaign(runs: Runs, outside: list[float]) -> Path:
    began = time.perf_counter()
    out = runs.campaign()
    cpus_s = ray.cluster_resources()["CPU"] * (time.perf_counter() - began)
    inside_s = cell_seconds(out)
    outside.append((cpus_s - sum(inside_s)) / len(inside_s))
    return out


def _start_and_end() -> None:
    with connect(None, imports=CELL_MODULE):
        pass
