"""Joining a cluster that is there: by each kind of address, with and without its token."""

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.cluster.head import head
from tests.cluster.test_autoscaling import made_up

pytestmark = [pytest.mark.ray, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
JOIN = """
import json, sys, time
from lus_ray.engine.cluster import connected
from lus_ray.engine.drivers import hosted
from lus_ray.engine.nodes import Cluster
from lus_ray.errors import InputError
began = time.monotonic()
try:
    with connected(sys.argv[1]):
        cluster = Cluster.now()
        print(json.dumps({"told": cluster.told(), "gpus": cluster.gpus}), flush=True)
        with hosted(lambda text: print(text, flush=True)):
            print("hosted", flush=True)
            time.sleep(float(sys.argv[2]))
except InputError as error:
    print(json.dumps({"refused": str(error), "after": time.monotonic() - began}))
"""


@pytest.fixture(scope="module")
def cluster():
    """A head without CPUs that hosts one campaign, and may grow as the shipped cluster may."""
    with head("--num-cpus=0", '--resources={"driver": 1}', autoscaling=made_up()) as running:
        yield running


def address(cluster, kind):
    if kind == "ray://":
        words = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
        mine = next(w for w in words if any(f"--port={cluster.port}" in word for word in w))
        option = next(word for word in mine if word.startswith("--ray-client-server-port="))
        return f"ray://127.0.0.1:{option.partition('=')[2]}"
    return {"host:port": f"127.0.0.1:{cluster.port}", "auto": "auto"}[kind]


def start(cluster, kind, seconds=0, **more):
    environment = {**cluster.environment, "RAY_ADDRESS": f"127.0.0.1:{cluster.port}", **more}
    return subprocess.Popen(
        [sys.executable, "-c", JOIN, address(cluster, kind), str(seconds)],
        env=environment, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["host:port", "ray://", "auto"])
def test_a_driver_of_this_node_joins_and_sees_how_far_the_cluster_may_grow(cluster, kind):
    first, *others = start(cluster, kind).communicate(timeout=60)[0].splitlines()
    seen = json.loads(first)
    assert seen["told"].startswith("0 CPUs, and may add 4 worker_gpu")
    assert seen["gpus"] == 2  # as there may be two workers in all
    assert others == ["hosted"]


@pytest.mark.parametrize("kind", ["host:port", "ray://", "auto"])
@pytest.mark.parametrize("more", [{"RAY_AUTH_TOKEN": "0" * 64}, {"RAY_AUTH_MODE": "disabled"}])
def test_without_the_right_token_one_line_says_so_at_once(cluster, kind, more):
    told = json.loads(start(cluster, kind, **more).communicate(timeout=60)[0])
    assert "it asks for a token, and this process has another or none" in told["refused"]
    assert "\n" not in told["refused"]
    assert told["after"] < 10


def test_a_second_campaign_waits_for_the_place_of_the_first_and_says_so(cluster):
    first = start(cluster, "host:port", seconds=12)
    assert "told" in first.stdout.readline()
    assert first.stdout.readline() == "hosted\n"
    second = start(cluster, "host:port").communicate(timeout=90)[0].splitlines()
    assert first.wait(30) == 0
    assert second[1].startswith("1 of 1 campaigns run; waiting for a place for 3 s")
    assert second[-1] == "hosted"


def test_a_killed_campaign_gives_its_place_back(cluster):
    first = start(cluster, "host:port", seconds=60)
    first.stdout.readline()
    assert first.stdout.readline() == "hosted\n"
    first.kill()
    assert start(cluster, "host:port").communicate(timeout=90)[0].splitlines()[-1] == "hosted"
