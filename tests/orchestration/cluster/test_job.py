"""Jobs: a clone is submitted to a head that asks for a token, stopped, and submitted again."""

import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.orchestration.cluster.clone import clone
from tests.orchestration.cluster.head import Head, head

pytestmark = [pytest.mark.full, pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

ENDS = {"SUCCEEDED", "FAILED", "STOPPED"}


@dataclass(frozen=True)
class Told:
    """What a stopped and repeated job left behind."""

    out: Path
    finished_at_stop: dict[Path, int]
    states: tuple[str, str]
    log: str
    refused: int
    port: int


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """One campaign as two jobs: the first is stopped in mid-run."""
    out = tmp_path_factory.mktemp("out") / "run"
    project = clone(tmp_path_factory.mktemp("clone"))
    with head("--num-cpus=2") as cluster:
        refused = answer(f"{cluster.url}/api/jobs/")
        first = submit(cluster, project, out)
        wait(cluster, first, until=lambda: len(finished(out)) >= 5)
        cluster.run("ray", "job", "stop", "--address", cluster.url, first)
        stopped = wait(cluster, first)
        at_stop = finished(out)
        second = submit(cluster, project, out)
        done = wait(cluster, second)
        log = cluster.run("ray", "job", "logs", "--address", cluster.url, second)
    return Told(out, at_stop, (stopped, done), log, refused, cluster.port)


def test_a_job_ends_well_and_its_report_is_there(told):
    assert told.states[1] == "SUCCEEDED", told.log[-3000:]
    report = json.loads((told.out / "report.json").read_text())
    assert report["experiment"] == "biomarkers"
    assert len(report["arms"]) > 20


def test_a_job_runs_on_the_cluster_and_not_beside_it(told):
    signs = json.loads((told.out / "campaign.json").read_text())
    assert signs["address"].endswith(f":{told.port}")


def test_a_stopped_job_submitted_again_finishes_only_what_is_missing(told):
    assert told.states[0] == "STOPPED"
    after = finished(told.out)
    assert 5 <= len(told.finished_at_stop) < len(after)
    assert {path: after[path] for path in told.finished_at_stop} == told.finished_at_stop


def test_who_has_no_token_may_not_even_list_the_jobs(told):
    assert told.refused in (401, 403)


def submit(cluster: Head, project: Path, out: Path) -> str:
    """Submit the smoke campaign from a clone as the README says; the name of the job."""
    name = f"smoke-{time.monotonic_ns()}"
    said = cluster.run(
        "ray", "job", "submit", "--address", cluster.url, "--no-wait", "--submission-id", name,
        "--working-dir", ".", "--", "lus", "run", "biomarkers", "--smoke", "--out", out,
        cwd=project,
    )  # fmt: skip
    assert "submitted successfully" in said, said
    return name


def wait(cluster: Head, job: str, until=lambda: False) -> str:
    """Wait until a job has ended, or `until` says so; its state."""
    deadline = time.monotonic() + 600
    while (state := state_of(cluster, job)) not in ENDS and not until():
        assert time.monotonic() < deadline, f"job {job} is still {state}"
        time.sleep(1)
    return state


def state_of(cluster: Head, job: str) -> str:
    return str(cluster.ask(f"/api/jobs/{job}")["status"])


def answer(url: str) -> int:
    """The status of a request without a token."""
    try:
        with urllib.request.urlopen(url, timeout=30) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code


def finished(out: Path) -> dict[Path, int]:
    """Prediction files and when each was written."""
    return {path: path.stat().st_mtime_ns for path in out.glob("predictions/*/fold*.parquet")}
