"""Joining a running cluster: by each kind of address, with and without its token."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.orchestration.cluster.head import head
from tests.orchestration.cluster.test_autoscaling import simulated

pytestmark = [pytest.mark.ray, pytest.mark.full]

ROOT = Path(__file__).resolve().parents[3]
JOIN = """
import json, sys, time
from lus_ray.orchestration.cluster.connection import connect
from lus_ray.orchestration.cluster.admission import admit_campaign
from lus_ray.orchestration.cluster.resources import Cluster
from lus_ray.errors import InputError
for address in sys.argv[2:]:
    began = time.monotonic()
    try:
        with connect(address):
            cluster = Cluster.current()
            print(json.dumps({"cluster": cluster.describe(), "gpus": cluster.gpus}), flush=True)
            with admit_campaign(lambda text: print(text, flush=True)):
                print("admitted", flush=True)
                time.sleep(float(sys.argv[1]))
    except InputError as error:
        print(json.dumps({"refused": str(error), "after": time.monotonic() - began}), flush=True)
"""


@pytest.fixture(scope="module")
def cluster():
    """A head without CPUs that admits one campaign, with the limits of the shipped cluster."""
    with head("--num-cpus=0", '--resources={"driver": 1}', autoscaling=simulated()) as running:
        yield running


def start(cluster, *kinds, seconds=0, **variables):
    address = f"127.0.0.1:{cluster.port}"
    addresses = {"host:port": address, "ray://": f"ray://127.0.0.1:{cluster.client_port}"}
    return subprocess.Popen(
        [sys.executable, "-c", JOIN, str(seconds), *(addresses.get(kind, kind) for kind in kinds)],
        env={**cluster.environment, "RAY_ADDRESS": address, **variables},
        cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["host:port", "ray://", "auto"])
def test_a_driver_on_this_node_joins_and_reads_the_limits(cluster, kind):
    first, *rest = start(cluster, kind).communicate(timeout=150)[0].splitlines()
    joined = json.loads(first)
    assert "refused" not in joined, joined["refused"]
    assert joined["cluster"].startswith("0 CPUs, and may add 4 worker_gpu")
    assert joined["gpus"] == 2  # as there may be two workers in all
    assert rest == ["admitted"]


@pytest.mark.parametrize("variables", [{"RAY_AUTH_TOKEN": "0" * 64}, {"RAY_AUTH_MODE": "disabled"}])
def test_a_wrong_token_is_refused_at_once_at_every_address(cluster, variables):
    output = start(cluster, "host:port", "ray://", "auto", **variables).communicate(timeout=150)[0]
    lines = list(map(json.loads, output.splitlines()))
    assert len(lines) == 3
    for line in lines:
        assert "it requires a token, and this process has another or none" in line["refused"]
        assert "\n" not in line["refused"]
        assert line["after"] < 10


def test_a_second_campaign_waits_until_the_first_is_killed(cluster):
    first = start(cluster, "host:port", seconds=600)
    assert "cluster" in first.stdout.readline()
    assert first.stdout.readline() == "admitted\n"
    second = start(cluster, "host:port")
    assert "cluster" in second.stdout.readline()
    assert re.match(r"1 of 1 campaigns are running; waiting for \d+ s", second.stdout.readline())
    first.kill()
    assert second.communicate(timeout=150)[0].splitlines()[-1] == "admitted"
