"""Random campaigns on random clusters of several nodes: each ends or is refused, none hangs.

Each runs in a process of its own, which prints "refused: ..." if the planner refuses it:

    python -m tests.orchestration.test_plan_campaigns ADDRESS SEED STORE RUN_FOLDER
"""

import contextlib
import os
import random
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from experiments.biomarkers import EXPERIMENT
from lus_ray.data.ingest.pipeline import ingest
from lus_ray.data.loading import memmap, shared_memory
from lus_ray.data.transforms.view import View
from lus_ray.errors import PlanError
from lus_ray.experiment import Arm, Experiment
from lus_ray.orchestration import campaign
from lus_ray.runs.plan import RunRequest
from lus_ray.tasks import IntensityFeatures

ROOT = Path(__file__).resolve().parents[2]
NUM_CLUSTERS, NUM_CAMPAIGNS = 6, 2
SILENT_SECONDS, LONGEST_SECONDS = 75, 400
FEATURES = partial(IntensityFeatures, view=View(num_frames=2, height=24, width=32))

pytestmark = [pytest.mark.ray, pytest.mark.full, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def small_store(tmp_path_factory):
    store = tmp_path_factory.mktemp("phantom") / "store"
    ingest("phantom", None, store, patients=12, clips=1, frames=6, size=64, masks="none")
    return store


@pytest.mark.parametrize("number", range(NUM_CLUSTERS))
def test_random_campaigns_end_or_are_refused(number, small_store, tmp_path):
    with random_cluster(random.Random(number)) as (address, shape):
        for seed in range(number * NUM_CAMPAIGNS, (number + 1) * NUM_CAMPAIGNS):
            code, output = run(address, seed, small_store, tmp_path / str(seed))
            result = "refused" if "refused: " in output else "finished"
            print(f"cluster {number} {shape} campaign {seed}: {result}, exit {code}\n{output}")
            assert code == 0, output


@contextlib.contextmanager
def random_cluster(rng):
    nodes = range(rng.randint(1, 3))
    shape = [(rng.choice((0, 1, 2, 2, 3)), rng.choice((0, 0, 1))) for _ in nodes]
    cluster = Cluster(shutdown_at_exit=False)
    options = {"object_store_memory": 100 << 20, "include_dashboard": False}
    try:
        for cpus, gpus in shape:
            cluster.add_node(num_cpus=cpus, num_gpus=gpus, **options)
        yield cluster.address, shape
    finally:
        cluster.shutdown()


def run(address, seed, store, out):
    """The exit code and output of a campaign, which may not be silent for long."""
    words = [sys.executable, "-m", __name__, address, str(seed), str(store), str(out)]
    log = out.with_suffix(".log")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    with log.open("w") as file:
        process = subprocess.Popen(words, cwd=ROOT, stdout=file, stderr=file, env=environment)
    began = last_output = time.monotonic()
    num_bytes = 0
    while process.poll() is None:
        now = time.monotonic()
        if log.stat().st_size != num_bytes:
            num_bytes, last_output = log.stat().st_size, now
        if now - last_output > SILENT_SECONDS or now - began > LONGEST_SECONDS:
            process.kill()
            pytest.fail(f"campaign {seed} hung after {now - began:.0f} s:\n{log.read_text()}")
        time.sleep(0.2)
    return process.returncode, log.read_text()


def random_experiment(rng):
    smoke = EXPERIMENT.at("smoke")
    network = smoke.arm("e2e severity")
    arms = [Arm(f"plain {n}", FEATURES) for n in range(rng.randint(0, 2))]
    for number in range(rng.randint(1, 2)):
        workers = rng.choice((1, 1, 2, 3))
        # Without a real GPU, workers of Ray Train cannot talk to each other over one.
        gpus = rng.choice((0.0, 1 / 3, 0.5, 1.0)) if workers == 1 else 0.0
        recipe = replace(network.recipe, epochs=1, batch=6, workers=workers, gpus=gpus)
        arms.append(replace(network, name=f"network {number}", recipe=recipe))
    rng.shuffle(arms)
    return Experiment("random", "Random", smoke.folds, tuple(arms), ("auc",))


def main(address, seed, store, out):
    rng = random.Random(int(seed))
    experiment, streamed = random_experiment(rng), rng.random() < 0.25
    folds = tuple(range(rng.randint(1, 2)))
    if streamed:
        shared_memory.SHARE, memmap.SPARE_BYTES = 0.0, 1 << 60
    arms = [(arm.name, arm.recipe and (arm.recipe.workers, arm.recipe.gpus))
            for arm in experiment.arms]  # fmt: skip
    print(f"arms: {arms} streamed: {streamed} folds: {folds}", flush=True)
    paths = {"data": Path(store), "out": Path(out)}
    try:
        campaign.run(RunRequest(experiment, **paths, size="smoke", address=address, folds=folds))
    except PlanError as error:
        print(f"refused: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
