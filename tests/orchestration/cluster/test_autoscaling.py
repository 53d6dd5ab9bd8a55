"""A campaign on a cluster without workers: it scales from zero, finishes, and scales down.

The node types are those of cluster.yaml with an eighth of the CPUs; a provider of Ray simulates
each node on this machine.
"""

import contextlib
import json
import threading
import time
from typing import Any

import pytest

from tests.orchestration.cluster.head import Head, head
from tests.orchestration.cluster.project import cloud

pytestmark = [pytest.mark.full, pytest.mark.ray, pytest.mark.timeout(600)]

HEAD_TYPE = "ray.head.default"  # the only name that the provider accepts
ARMS = "prior*,logistic*,e2e severity"


def test_pending_cells_add_workers_that_stop_when_idle(tmp_path):
    resources = cloud()["available_node_types"]["head"]["resources"]
    driver = json.dumps({"driver": resources["driver"]})
    with head("--num-cpus=0", f"--resources={driver}", autoscaling=simulated()) as cluster:
        assert list_workers(cluster) == []
        polls: list[list[dict[str, float]]] = []
        stop = threading.Event()
        poller = threading.Thread(target=poll_workers, args=(cluster, polls, stop))
        poller.start()
        log = cluster.run(
            "lus", "run", "biomarkers", "--smoke", "--arms", ARMS, "--set", "arm.recipe.gpus=0",
            "--out", tmp_path, "--address", f"127.0.0.1:{cluster.port}", timeout=400, cwd=tmp_path,
        )  # fmt: skip
        stop.set()
        poller.join()
        began = time.monotonic()
        while list_workers(cluster):
            assert time.monotonic() - began < 60, "idle workers stay"
            time.sleep(1)
    assert (tmp_path / "report.json").is_file(), log[-3000:]
    report = json.loads((tmp_path / "report.json").read_text())
    assert len(report["arms"]) > 5
    assert all(arm["folds"] for arm in report["arms"])
    assert max(map(len, polls)) == 2
    assert not any(worker.get("GPU") for workers in polls for worker in workers)


def simulated() -> dict[str, Any]:
    """cluster.yaml for the provider that simulates nodes: at most two, stopped after 6 s idle."""
    config = cloud()
    types = {
        name: {
            **node, "node_config": {},
            "resources": {**node["resources"], "CPU": node["resources"]["CPU"] // 8},
        }
        for name, node in config["available_node_types"].items()
    }  # fmt: skip
    types[HEAD_TYPE] = types.pop(config["head_node_type"]) | {"max_workers": 0}
    kept = {key: config[key] for key in ("cluster_name", "upscaling_speed")}
    commands = (
        "initialization_commands",
        "setup_commands",
        "head_setup_commands",
        "worker_setup_commands",
        "head_start_ray_commands",
        "worker_start_ray_commands",
    )
    return {
        **kept, "max_workers": 2, "available_node_types": types, "head_node_type": HEAD_TYPE,
        "idle_timeout_minutes": 0.1, "auth": {}, "docker": {}, "file_mounts": {},
        "cluster_synced_files": [], **{name: [] for name in commands},
    }  # fmt: skip


def poll_workers(cluster: Head, polls: list[list[dict[str, float]]], stop: threading.Event) -> None:
    while not stop.wait(1.0):
        with contextlib.suppress(OSError, ValueError):  # a busy head may not answer
            polls.append(list_workers(cluster))


def list_workers(cluster: Head) -> list[dict[str, float]]:
    nodes = cluster.get("/api/v0/nodes?limit=100")["data"]["result"]["result"]
    return [
        node["resources_total"]
        for node in nodes
        if node["state"] == "ALIVE" and not node["is_head_node"]
    ]
