"""Jobs: a clone is submitted to a head that requires a token, stopped, and submitted again."""

import json
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.orchestration.cluster.head import Head, head
from tests.orchestration.cluster.project import clone
from tests.orchestration.faults.command import finished_cells

pytestmark = [pytest.mark.full, pytest.mark.ray, pytest.mark.timeout(900)]

END_STATES = {"SUCCEEDED", "FAILED", "STOPPED"}


def test_a_stopped_job_that_is_submitted_again_finishes_the_missing_cells(tmp_path):
    out, project = tmp_path / "run", clone(tmp_path / "clone")
    with head("--num-cpus=2") as cluster:
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{cluster.url}/api/jobs/", timeout=30)
        assert refused.value.code in (401, 403)
        first = submit(cluster, project, out)
        wait(cluster, first, until=lambda: len(finished_cells(out)) >= 5)
        cluster.run("ray", "job", "stop", "--address", cluster.url, first)
        assert wait(cluster, first) == "STOPPED"
        before = finished_cells(out)
        second = submit(cluster, project, out)
        state = wait(cluster, second)
        log = cluster.run("ray", "job", "logs", "--address", cluster.url, second)
    assert state == "SUCCEEDED", log[-3000:]
    report = json.loads((out / "report.json").read_text())
    assert report["experiment"] == "biomarkers"
    assert len(report["arms"]) > 20
    status = json.loads((out / "campaign.json").read_text())
    assert status["address"].endswith(f":{cluster.port}")
    after = finished_cells(out)
    assert 5 <= len(before) < len(after)
    assert before.items() <= after.items()


def submit(cluster: Head, project: Path, out: Path) -> str:
    name = f"smoke-{time.monotonic_ns()}"
    output = cluster.run(
        "ray", "job", "submit", "--address", cluster.url, "--no-wait", "--submission-id", name,
        "--working-dir", ".", "--", "lus", "run", "biomarkers", "--smoke", "--out", out,
        cwd=project,
    )  # fmt: skip
    assert "submitted successfully" in output, output
    return name


def wait(cluster: Head, job: str, until=lambda: False) -> str:
    deadline = time.monotonic() + 600
    while True:
        state = str(cluster.get(f"/api/jobs/{job}")["status"])
        if state in END_STATES or until():
            return state
        assert time.monotonic() < deadline, f"job {job} is still {state}"
        time.sleep(1)
