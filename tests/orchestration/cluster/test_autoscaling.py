"""A campaign on a cluster that has no worker yet: it scales from zero, finishes, scales down.

The node types are those of cluster.yaml with an eighth of the CPUs; a provider of Ray's own makes
each node up on this machine.
"""

import contextlib
import json
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.orchestration.cluster.head import Head, head
from tests.orchestration.cluster.onpremises import cloud

pytestmark = [pytest.mark.full, pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

HEAD_TYPE = "ray.head.default"  # the one name that the provider knows its head by
ARMS = "prior*,logistic*,e2e severity"


@dataclass
class Seen:
    """What an onlooker saw of the cluster: its workers' CPUs and GPUs, once a second."""

    workers: list[list[dict[str, float]]] = field(default_factory=list)
    log: str = ""
    left_after_s: float = 0.0


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    saw = Seen()
    resources = cloud()["available_node_types"]["head"]["resources"]
    driver = json.dumps({"driver": resources["driver"]})
    with head("--num-cpus=0", f"--resources={driver}", autoscaling=made_up()) as cluster:
        saw.workers.append(workers(cluster))
        over = threading.Event()
        onlooker = threading.Thread(target=watch, args=(cluster, saw, over))
        onlooker.start()
        saw.log = cluster.run(
            "lus", "run", "biomarkers", "--smoke", "--arms", ARMS, "--set", "arm.recipe.gpus=0",
            "--out", out, "--address", f"127.0.0.1:{cluster.port}", timeout=400, cwd=out,
        )  # fmt: skip
        over.set()
        onlooker.join()
        began = time.monotonic()
        while workers(cluster) and time.monotonic() - began < 120:
            time.sleep(1)
        saw.left_after_s = time.monotonic() - began
        saw.workers.append(workers(cluster))
    return out, saw


def test_the_campaign_finishes_on_workers_that_were_not_there_before(seen):
    out, saw = seen
    assert saw.workers[0] == []
    assert (out / "report.json").is_file(), saw.log[-3000:]
    report = json.loads((out / "report.json").read_text())
    assert len(report["arms"]) > 5
    assert all(arm["folds"] for arm in report["arms"])


def test_cells_that_wait_bring_as_many_workers_as_are_allowed(seen):
    _, saw = seen
    assert max(map(len, saw.workers)) == 2


def test_cells_that_need_no_gpu_bring_none(seen):
    _, saw = seen
    assert any(saw.workers)
    assert not any(worker.get("GPU") for workers in saw.workers for worker in workers)


def test_idle_workers_go_again(seen):
    _, saw = seen
    assert any(saw.workers)
    assert saw.workers[-1] == []
    assert saw.left_after_s < 60


def made_up() -> dict[str, Any]:
    """cluster.yaml for the provider that makes nodes up: two, small, let go after six seconds."""
    config = cloud()
    types = {
        name: {**node, "node_config": {}, "resources": smaller(node["resources"])}
        for name, node in config["available_node_types"].items()
    }
    types[HEAD_TYPE] = types.pop(config["head_node_type"]) | {"max_workers": 0}
    kept = {key: config[key] for key in ("cluster_name", "upscaling_speed")}
    return {
        **kept, "max_workers": 2, "available_node_types": types, "head_node_type": HEAD_TYPE,
        "idle_timeout_minutes": 0.1, "auth": {}, "docker": {}, "file_mounts": {},
        "cluster_synced_files": [], "initialization_commands": [], "setup_commands": [],
        "head_setup_commands": [], "worker_setup_commands": [], "head_start_ray_commands": [],
        "worker_start_ray_commands": [],
    }  # fmt: skip


def smaller(resources: dict[str, float]) -> dict[str, float]:
    """An eighth of the CPUs, so that one node holds one cell."""
    return {**resources, "CPU": resources["CPU"] // 8}


def watch(cluster: Head, saw: Seen, over: threading.Event) -> None:
    """Write down the workers once a second until it is over."""
    while not over.wait(1.0):
        with contextlib.suppress(OSError, ValueError):  # a busy head may leave one unanswered
            saw.workers.append(workers(cluster))


def workers(cluster: Head) -> list[dict[str, float]]:
    """Resources of the living nodes that are not the head."""
    nodes = cluster.ask("/api/v0/nodes?limit=100")["data"]["result"]["result"]
    return [
        node["resources_total"]
        for node in nodes
        if node["state"] == "ALIVE" and not node["is_head_node"]
    ]
