"""Small cells in parallel on a Ray cluster, against the same cells one after another.

Three networks that score frames, on four folds: 12 cells of about a second each, on phantom clips
of 24 patients, two clips of 12 frames each, at 64 x 64.
Baselines: a plain loop of one process, on one and on two torch threads; and a pool of two processes
that stays for all runs, while each campaign starts its own two. On one thread every value of every
prediction table is equal; two threads round differently: only clips, splits and targets are.
"added per cell" is the time of both CPUs that a campaign spends outside its cells.
"""

import statistics
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import ray

from lus_ray.bench.cell_runs import Runs, cell_seconds, check_equal, phantom_store, two_processes
from lus_ray.bench.measure import Comparison, compare_in_turn
from lus_ray.data.transforms.view import View
from lus_ray.experiment import Arm, Experiment, Recipe
from lus_ray.folds import rotating
from lus_ray.nets import STN, FrameCNN, resnet18
from lus_ray.orchestration.cluster.connection import CELL_MODULE, connect
from lus_ray.tasks import FrameScore

TARGET, LIMIT_MS = 1.6, 3000.0
NETWORKS = {"cnn": FrameCNN, "resnet18": resnet18, "stn": STN}
VIEW = View(num_frames=1, height=64, width=64, num_samples=0)
PREDICTIONS = ("probability", "outputs")


def measure(
    repeats: int = 2,
    *,
    num_patients: int = 24,
    num_draws: int = 320,
    networks: tuple[str, ...] = tuple(NETWORKS),
) -> dict[str, Comparison]:
    """A campaign of small cells on two CPUs; few repeats, as one takes many seconds."""
    clips = {"patients": num_patients, "clips": 2, "frames": 12, "size": 64}
    with phantom_store(**clips, masks="none") as (root, data), two_processes() as pool:
        runs = Runs(experiment(networks, num_draws), data, root)
        start = compare_in_turn(_start_and_end, {}, repeats=1, warmup=0, children=True)
        with connect(None, imports=CELL_MODULE):
            ours = runs.campaign(folds=(0,))
            loop = runs.run_in_loop("loop", 1, (0,))
            check_equal(ours, loop, "one after another")
            check_equal(ours, runs.run_in_pool(pool, (0,)), "two processes")
            two = runs.run_in_loop("loop on 2 threads", 2, (0,))
            check_equal(ours, two, "one after another, 2 threads", without=PREDICTIONS)
            outside: list[float] = []
            baselines = {
                "one after another, 1 thread": partial(runs.run_in_loop, "loop", 1),
                "one after another, 2 threads": partial(runs.run_in_loop, "two", 2),
                "two processes that stay": partial(runs.run_in_pool, pool),
            }
            campaign = partial(_run_campaign, runs, outside)
            measured = compare_in_turn(
                campaign, baselines, repeats=repeats, warmup=0, children=True
            )
    *loops, processes = measured.baselines
    added = replace(start, repeats=repeats, wall_ms=1000 * statistics.median(outside), cpu_s=0.0)
    one_by_one = replace(measured, baselines=tuple(loops), target=TARGET)
    return {
        f"{4 * len(networks)} cells, cluster running": one_by_one,
        "against processes": replace(measured, baselines=(processes,)),
        "start and end of Ray": start,
        "added per cell": replace(added, target=LIMIT_MS),
    }


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
