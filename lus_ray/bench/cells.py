"""A run of small cells on two cores, its start included, against the same cells in other ways.

Three networks that score frames, on four folds: 12 cells of about a second each, on phantom clips
of 24 patients, two clips of 12 frames each, at 64 x 64.
Rivals: a plain loop of one process, and a pool of two processes that stays for all runs, while each
campaign forks its own. All have one torch thread; every value of every prediction table is equal.
"Added per cell" is the time of both CPUs that the same campaign spends outside its cells on a Ray
cluster that runs, as a larger one would.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import ray

from lus_ray.bench.cell_runs import Runs, check_equal, new_processes, phantom_store
from lus_ray.bench.measure import Comparison, Result, Run, single_result
from lus_ray.data.transforms.view import View
from lus_ray.experiment import Arm, Experiment, Recipe
from lus_ray.folds import rotating
from lus_ray.nets import STN, FrameCNN, resnet18
from lus_ray.orchestration.cluster.connection import CELL_MODULE, connect
from lus_ray.runs.layout import RunFolder
from lus_ray.tasks import FrameScore

TARGET, TARGET_PROCESSES, LIMIT_MS = 1.6, 1.0, 3000.0
NETWORKS = {"cnn": FrameCNN, "resnet18": resnet18, "stn": STN}
VIEW = View(num_frames=1, height=64, width=64, num_samples=0)
NUM_REPEATS = 2


def compare(
    *, num_patients: int = 24, num_draws: int = 320, networks: tuple[str, ...] = tuple(NETWORKS)
) -> Iterator[tuple[str, Comparison | Result]]:
    """A campaign of small cells on two CPUs; few repeats, as one takes many seconds."""
    clips = {"patients": num_patients, "clips": 2, "frames": 12, "size": 64}
    with phantom_store(**clips, masks="none") as (root, data), new_processes(2) as pool:
        runs = Runs(experiment(networks, num_draws), data, root)
        rivals: dict[str, Run] = {
            "one after another": partial(runs.run_alone, "loop"),
            "two processes that stay": partial(runs.run_alone, "pool", map_cells=pool.map),
        }
        for run in (runs.campaign, *rivals.values()):
            run(folds=(0,))  # none starts cold
        measured = Comparison(runs.campaign, rivals, children=True, warmup=0).measure(NUM_REPEATS)
        for name in ("loop", "pool"):
            check_equal(runs.last["campaign"], runs.last[name], name)
        for rival, target in zip(measured.rivals, (TARGET, TARGET_PROCESSES), strict=True):
            name = f"{4 * len(networks)} cells against {rival.name}"
            yield name, replace(measured, rivals=(rival,), target=target)
        with connect(None, imports=CELL_MODULE):
            added_ms = 1000 * _seconds_added(runs)
            yield "added per cell on a Ray cluster", single_result(added_ms, LIMIT_MS)


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


def _seconds_added(runs: Runs) -> float:
    """Seconds of all CPUs that a campaign spends outside its cells, for each cell."""
    began = time.perf_counter()
    out = runs.campaign()
    cpus_s = ray.cluster_resources()["CPU"] * (time.perf_counter() - began)
    costs = [cell.cost.read_text() for cell in RunFolder(out).finished_cells()]
    inside_s = [json.loads(cost)["wall_s"] for cost in costs]
    return (cpus_s - sum(inside_s)) / len(inside_s)
