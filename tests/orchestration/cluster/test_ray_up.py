"""`ray up` on own hosts, as a user runs it: SSH, token, tunnel, job, `ray down`."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from tests.orchestration.cluster.project import ROOT, clone

pytestmark = [pytest.mark.full, pytest.mark.ray, pytest.mark.timeout(900)]

NAMESPACES = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc"]


@pytest.fixture(scope="module")
def observed(tmp_path_factory):
    """Observations of a laptop with two hosts, each a namespace of this machine."""
    for tool in ("unshare", "ip", "rsync", "ssh", "ssh-keygen"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} here: hosts cannot be simulated")
    if shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        pytest.skip("no sshd here: hosts cannot be reached (apt-get install openssh-server)")
    if os.getuid() or subprocess.run([*NAMESPACES, "true"], capture_output=True).returncode:
        pytest.skip("namespaces are not allowed here: hosts cannot be simulated")
    folder = tmp_path_factory.mktemp("hosts")
    completed = subprocess.run(
        [*NAMESPACES, sys.executable, "-m", "tests.orchestration.cluster.hosts",
         clone(tmp_path_factory.mktemp("clone")), folder],
        cwd=ROOT, timeout=850, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert completed.returncode == 0, completed.stdout[-6000:]
    return {"folder": folder, **json.loads((folder / "observed.json").read_text())}


def test_ray_up_starts_a_closed_head_and_its_worker(observed):
    assert observed["up"]["code"] == 0, observed["up"]["output"]
    nodes = {node["address"]: node for node in observed["nodes"]}
    heads = {address: node["head"] for address, node in nodes.items()}
    assert heads == {"10.77.0.2": True, "10.77.0.3": False}
    head, worker = nodes["10.77.0.2"]["has"], nodes["10.77.0.3"]["has"]
    assert (head.get("CPU", 0), head["driver"]) == (0, 4)
    assert worker["CPU"] >= 1
    assert observed["open"] == {"8265": False, "22": True}
    homes = (observed["folder"] / name for name in ("laptop", "head", "worker1"))
    tokens = [home / ".ray" / "auth_token" for home in homes]
    assert len({token.read_text() for token in tokens}) == 1
    assert {token.stat().st_mode & 0o777 for token in tokens} == {0o600}


def test_a_job_through_the_tunnel_runs_a_study_on_the_worker(observed):
    assert observed["job"]["code"] == 0, observed["job"]["output"]
    report = json.loads((observed["folder"] / "run" / "report.json").read_text())
    assert len(report["arms"]) > 5
    assert all(arm["folds"] for arm in report["arms"])
    starts = (observed["folder"] / "run").glob("cells/*/fold*/starts.json")
    nodes = [start["node"] for path in starts for start in json.loads(path.read_text())]
    assert set(nodes) == {"worker1"}


def test_ray_down_leaves_no_server_on_any_host(observed):
    assert observed["down"]["code"] == 0, observed["down"]["output"]
    assert observed["left"] == []
