"""Ray's dashboard of a real run: its names, and the metrics that the Grafana panels query."""

import json
import os
import re
import secrets
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lus_ray.orchestration import grafana
from lus_ray.orchestration.dashboard import SHARED

pytestmark = [pytest.mark.ray, pytest.mark.full]
TIMEOUT_S = 240
NETWORK = "e2e severity/fold0"


@pytest.fixture(scope="module")
def observed(tmp_path_factory) -> dict[str, Any]:
    """What the dashboard and the metrics ports had seen until the run ended."""
    out, token = tmp_path_factory.mktemp("run"), secrets.token_hex(32)
    command = [sys.executable, "-m", "lus_ray.cli", "run", "biomarkers", "--smoke", "--dashboard",
               "--folds", "0", "--arms", "e2e severity,DT on e2e, severity",
               "--set", "arm.recipe.epochs=4", "--out", str(out)]  # fmt: skip
    environment = os.environ | {"RAY_AUTH_TOKEN": token, "RAY_metrics_report_interval_ms": "1000"}
    environment.pop("RAY_ADDRESS", None)
    seen: dict[str, Any] = {"actors": {}, "tasks": set(), "groups": set(), "samples": {}}
    run = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=-2, text=True)
    end = time.monotonic() + TIMEOUT_S
    try:
        while run.poll() is None and time.monotonic() < end:
            time.sleep(1)
            with suppress(OSError, ValueError, KeyError):  # not yet, or no longer
                watch(json.loads((out / "campaign.json").read_text())["dashboard"], token, seen)
    finally:
        run.terminate()
        seen["output"] = run.communicate(timeout=60)[0]
    assert run.returncode == 0, seen["output"]
    return seen


def watch(url: str, token: str, seen: dict[str, Any]) -> None:
    def get(path: str) -> Any:
        header = {"Authorization": f"Bearer {token}"}
        with urllib.request.urlopen(urllib.request.Request(url + path, headers=header)) as reply:
            return json.load(reply)

    def rows(kind: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = get(f"/api/v0/{kind}?detail=1")["data"]["result"]["result"]
        return found

    seen["actors"] |= {actor["repr_name"]: actor["class_name"] for actor in rows("actors")}
    seen["tasks"] |= {task["name"] for task in rows("tasks")}
    seen["groups"] |= {group["name"] for group in rows("placement_groups")}
    seen["job"] = get("/api/jobs/")[0]["metadata"]
    for node in rows("nodes"):
        host, port = node["node_ip"], metrics_port(url, token, node["node_id"])
        with urllib.request.urlopen(f"http://{host}:{port}/metrics") as reply:
            text = reply.read().decode()
        for family in text_string_to_metric_families(text):
            seen["samples"] |= {s.name: set(s.labels) for s in family.samples}


def metrics_port(url: str, token: str, node: str) -> int:
    request = urllib.request.Request(
        f"{url}/nodes/{node}", headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(request) as reply:
        return int(json.load(reply)["data"]["detail"]["raylet"]["metricsExportPort"])


def test_actors_tasks_groups_and_the_job_name_arm_and_fold(observed):
    assert {NETWORK: "CellActor", SHARED: "CellActor"}.items() <= observed["actors"].items()
    assert f"{NETWORK}.train" in observed["tasks"]
    assert NETWORK in observed["groups"]
    job = observed["job"]
    assert (job["lus_study"], job["lus_folds"]) == ("biomarkers", "0")
    assert "e2e severity" in job["lus_arms"]
    assert "Ray's dashboard: http://127.0.0.1:" in observed["output"]


def test_every_metric_and_label_of_the_panels_is_exported(observed):
    for panel in grafana.make_dashboard()["panels"]:
        for target in panel.get("targets", ()):
            for name, selected in re.findall(r"(ray_\w+)\{([^}]*)\}", target["expr"]):
                assert set(re.findall(r"(\w+)=", selected)) <= observed["samples"][name], name
