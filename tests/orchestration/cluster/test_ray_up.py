"""`ray up` for real, as a user with own hosts types it: SSH, token, tunnel, job, `ray down`."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from tests.orchestration.cluster.clone import clone
from tests.orchestration.cluster.onpremises import ROOT

pytestmark = [pytest.mark.full, pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

NAMESPACES = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc"]


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """What a laptop saw of its two hosts, each a namespace of this machine."""
    for tool in ("unshare", "ip", "rsync", "ssh", "ssh-keygen"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} here: hosts cannot be made up")
    if shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        pytest.skip("no sshd here: hosts cannot be reached (apt-get install openssh-server)")
    if os.getuid() or subprocess.run([*NAMESPACES, "true"], capture_output=True).returncode:
        pytest.skip("namespaces are not allowed here: hosts cannot be told apart")
    folder = tmp_path_factory.mktemp("hosts")
    done = subprocess.run(
        [*NAMESPACES, sys.executable, "-m", "tests.orchestration.cluster.hosts",
         clone(tmp_path_factory.mktemp("clone")), folder],
        cwd=ROOT, timeout=850, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    path = folder / "seen.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    return {"folder": folder, "code": done.returncode, "said": done.stdout[-6000:], **found}


def test_ray_up_brings_the_head_and_its_worker(seen):
    assert seen["code"] == 0, seen
    assert seen["up"]["code"] == 0, seen["up"]["said"]
    assert {node["address"]: node["head"] for node in seen["nodes"]} == {
        "10.77.0.2": True,
        "10.77.0.3": False,
    }


def test_the_head_hosts_drivers_and_the_worker_has_the_cpus(seen):
    has = {node["head"]: node["has"] for node in seen["nodes"]}
    assert has[True].get("CPU", 0) == 0
    assert has[True]["driver"] == 4
    assert has[False]["CPU"] >= 1


def test_the_dashboard_cannot_be_reached_but_through_the_tunnel(seen):
    assert seen["outside"] == {"8265": False, "22": True}


def test_the_token_lies_on_every_host_for_its_owner_alone(seen):
    tokens = [
        seen["folder"] / name / ".ray" / "auth_token" for name in ("laptop", "head", "worker1")
    ]
    assert len({token.read_text() for token in tokens}) == 1
    assert {token.stat().st_mode & 0o777 for token in tokens} == {0o600}


def test_a_job_through_the_tunnel_runs_a_study_on_the_hosts(seen):
    assert seen["job"]["code"] == 0, seen["job"]["said"]
    report = json.loads((seen["folder"] / "run" / "report.json").read_text())
    assert len(report["arms"]) > 5
    assert all(arm["folds"] for arm in report["arms"])


def test_no_cell_runs_on_the_head(seen):
    starts = (seen["folder"] / "run").glob("cells/*/fold*/starts.json")
    nodes = [start["node"] for path in starts for start in json.loads(path.read_text())]
    assert set(nodes) == {"worker1"}


def test_ray_down_leaves_no_server_on_any_host(seen):
    assert seen["down"]["code"] == 0, seen["down"]["said"]
    assert seen["left"] == []
