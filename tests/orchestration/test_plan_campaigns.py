"""Random campaigns on random clusters of several nodes: each ends or is refused, none hangs."""

import contextlib
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from lus_ray.data.ingest.pipeline import ingest

ROOT = Path(__file__).resolve().parents[2]
NUM_CLUSTERS, NUM_CAMPAIGNS = 6, 6
SILENT_SECONDS, LONGEST_SECONDS = 75, 400

pytestmark = [pytest.mark.ray, pytest.mark.full, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def small_store(tmp_path_factory):
    store = tmp_path_factory.mktemp("phantom") / "store"
    ingest("phantom", None, store, patients=12, clips=1, frames=6, size=32, masks="none")
    return store


@pytest.mark.parametrize("number", range(NUM_CLUSTERS))
def test_random_campaigns_end_or_are_refused(number, small_store, tmp_path):
    chance = random.Random(number)
    with cluster(chance) as (address, shape):
        for campaign in range(NUM_CAMPAIGNS):
            seed = number * NUM_CAMPAIGNS + campaign
            ended, said = run(address, seed, small_store, tmp_path / str(seed))
            verdict = "refused" if "refused: " in said else "finished"
            print(f"cluster {number} {shape} campaign {seed}: {verdict}, exit {ended}\n{said}")
            assert ended == 0, said


@contextlib.contextmanager
def cluster(chance):
    """Nodes with random numbers of CPUs and GPUs that Ray only believes in."""
    nodes = range(chance.randint(1, 3))
    shape = [(chance.choice((0, 1, 2, 2, 3)), chance.choice((0, 0, 1))) for _ in nodes]
    made = Cluster(shutdown_at_exit=False)
    try:
        for cpus, gpus in shape:
            made.add_node(
                num_cpus=cpus, num_gpus=gpus, object_store_memory=100 << 20, include_dashboard=False
            )
        yield made.address, shape
    finally:
        made.shutdown()


def run(address, seed, store, out):
    """Run a campaign; its exit code and what it said. It may not be silent for long."""
    command = [
        sys.executable,
        "-m",
        "tests.orchestration.random_campaign",
        address,
        str(seed),
        store,
        out,
    ]
    process = subprocess.Popen(
        list(map(str, command)), cwd=ROOT, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    said, heard, began = [], [time.monotonic()], time.monotonic()

    def listen():
        for line in process.stdout:
            said.append(f"{time.monotonic() - began:6.1f} {line}")
            heard.append(time.monotonic())

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    while process.poll() is None:
        now = time.monotonic()
        if now - heard[-1] > SILENT_SECONDS or now - began > LONGEST_SECONDS:
            process.kill()
            listener.join(5)
            pytest.fail(f"campaign {seed} hung after {now - began:.0f} s:\n{''.join(said)}")
        time.sleep(0.2)
    listener.join(5)
    return process.returncode, "".join(said)
