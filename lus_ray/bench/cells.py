"""Small cells together, in parallel on a Ray cluster, against the same cells one after another.

Three networks that score frames, on four folds: 12 cells of about a second each, phantom clips of
24 patients with two clips of 12 frames, seen at 64x64.
Rivals: the cells in a plain loop of one process, on one torch thread and on two, the better of
which is the one to beat; and a pool of two processes that stays for all runs, as joblib's does,
while each campaign starts its own two.
What is equal: every value of every prediction table where the loop and the processes have one
thread, as each cell of a campaign has; on two threads, which round otherwise in every step of the
training, only which clips are on which side with which target.
The start and end of Ray are a row of their own; what is added per cell is the time of both CPUs
that a campaign spends outside its cells.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import ray

from lus_ray.bench.cell_runs import Runs, cell_seconds, check_equal, phantoms, two_processes
from lus_ray.bench.measure import Measured, interleaved
from lus_ray.data.transforms.view import View
from lus_ray.experiment import Arm, Experiment, Recipe
from lus_ray.folds import rotating
from lus_ray.nets import STN, FrameCNN, resnet18
from lus_ray.orchestration.cluster.connection import CELL_MODULE, connect
from lus_ray.tasks import FrameScore

NUM_PATIENTS, NUM_DRAWS, NUM_REPEATS = 24, 320, 2
TARGET, LIMIT_MS = 1.6, 3000.0
NETWORKS = {"cnn": FrameCNN, "resnet18": resnet18, "stn": STN}
VIEW = View(num_frames=1, height=64, width=64, num_samples=0)
ANSWERS = ("probability", "outputs")


def measure(
    repeats: int = NUM_REPEATS,
    *,
    num_patients: int = NUM_PATIENTS,
    num_draws: int = NUM_DRAWS,
    networks: tuple[str, ...] = tuple(NETWORKS),
) -> dict[str, Measured]:
    """A campaign of small cells on two CPUs; few repeats, as one takes many seconds.

    Raises:
        LusError: a rival's cells are not ours, so that no ratio has a sense.
    """
    clips = {"patients": num_patients, "clips": 2, "frames": 12, "size": 64}
    with phantoms(**clips, masks="none") as (root, data), two_processes() as pool:
        runs = Runs(experiment(networks, num_draws), data, root)
        start = _once(_start_and_end)
        with connect(None, imports=CELL_MODULE):
            ours = runs.campaign(folds=(0,))
            loop = runs.one_after_another("loop", 1, (0,))
            check_equal(ours, loop, "one after another")
            check_equal(ours, runs.in_processes("pool", pool, (0,)), "two processes")
            two = runs.one_after_another("loop on 2 threads", 2, (0,))
            check_equal(ours, two, "one after another, 2 threads", without=ANSWERS)
            outside: list[float] = []
            measured = interleaved(
                partial(_campaign, runs, outside),
                {
                    "one after another, 1 thread": lambda: runs.one_after_another("loop", 1),
                    "one after another, 2 threads": lambda: runs.one_after_another("two", 2),
                    "two processes that stay": lambda: runs.in_processes("pool", pool),
                },
                repeats=repeats,
                warmup=0,
                children=True,
            )
    *loops, processes = measured.rivals
    added = replace(start, repeats=repeats, wall_ms=1000 * statistics.median(outside), cpu_s=0.0)
    return {
        f"{4 * len(networks)} cells, cluster running": replace(
            measured, rivals=tuple(loops), target=TARGET
        ),
        "against processes": replace(measured, rivals=(processes,)),
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


def _campaign(runs: Runs, outside: list[float]) -> Path:
    """One campaign; appends the CPU-slot seconds per cell that were spent outside of cells."""
    began = time.perf_counter()
    out = runs.campaign()
    wall_s = time.perf_counter() - began
    inside = cell_seconds(out)
    num_cpus = ray.cluster_resources()["CPU"]
    outside.append((num_cpus * wall_s - sum(inside)) / len(inside))
    return out


def _start_and_end() -> None:
    with connect(None, imports=CELL_MODULE):
        pass


def _once(run: Callable[[], object]) -> Measured:
    return interleaved(run, {}, repeats=1, warmup=0, children=True)
