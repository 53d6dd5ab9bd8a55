"""A cluster that goes away ends its command; stand-ins bear the names of the parts of Ray."""

import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from lus_ray.orchestration.cluster import watchdog

OWN = """
import subprocess, sys, time
from lus_ray.orchestration.cluster.watchdog import ClusterWatchdog
for name in ("gcs_server", "raylet"):
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.Popen([f"{sys.argv[1]}/{name}", "60"], **silent)
with ClusterWatchdog(own=True) as guard:
    guard.started()
    while len(guard.parts) < 2:
        time.sleep(0.1)
    print("started", flush=True)
    time.sleep(60)
"""
JOINED = """
import sys, time
from lus_ray.orchestration.cluster import watchdog
watchdog.JOINED_LOOK_S, watchdog.SAY_S, watchdog.SILENT_S = 0.2, 0.5, 2.0
with watchdog.ClusterWatchdog(own=False) as watched:
    watched.running.set()
    watched.head = ("127.0.0.1", int(sys.argv[1]))
    print("started", flush=True)
    time.sleep(float(sys.argv[2]))
print("done", flush=True)
"""


def begun(script: str, *words: object) -> subprocess.Popen[str]:
    """A command under guard that has said that it started."""
    command = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert command.stdout is not None
    assert command.stdout.readline() == "started\n"
    return command


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """A folder with programs that do nothing under the names of Ray's."""
    for name in ("gcs_server", "raylet"):
        shutil.copy2(shutil.which("sleep") or "/bin/sleep", tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("part", ["gcs_server", "raylet"])
def test_a_part_of_ones_own_cluster_that_dies_ends_the_command_with_one_line(parts, part):
    command = begun(OWN, parts)
    children = {child.name(): child for child in psutil.Process(command.pid).children()}
    children[part].send_signal(signal.SIGKILL)
    _, told = command.communicate(timeout=30)
    for child in children.values():
        child.kill()
    assert command.returncode == 1
    assert told == (
        f"lus: the Ray cluster went away (its {part} ended); run the same command again to go on\n"
    )


def test_a_node_beside_this_one_is_not_taken_for_it(tmp_path):
    """Sockets of further nodes on one machine have the name of the first, and a number."""
    shutil.copy2(shutil.which("sh") or "/bin/sh", tmp_path / "raylet")
    sockets = [f"{tmp_path}/sockets/raylet{number}" for number in (".1", "", ".2")]
    nodes = [
        subprocess.Popen(
            [tmp_path / "raylet", "-c", "echo; read line", f"--raylet_socket_name={socket}"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        for socket in sockets
    ]  # fmt: skip
    assert [node.stdout.readline() for node in nodes] == [b"\n"] * 3
    for node, socket_name in zip(nodes, sockets, strict=True):
        assert watchdog.find_raylet(socket_name).pid == node.pid
    for node in nodes:
        node.communicate()
    assert watchdog.find_raylet(sockets[1]) is None


def test_a_head_that_answers_no_more_is_waited_for_and_then_given_up():
    with socket.create_server(("127.0.0.1", 0)) as head:
        port = head.getsockname()[1]
        command = begun(JOINED, port, 60)
    _, told = command.communicate(timeout=30)
    assert command.returncode == 1
    assert told.splitlines() == [
        f"the Ray cluster: nobody answers at 127.0.0.1:{port}; waiting for it",
        f"lus: the Ray cluster went away (nobody answers at 127.0.0.1:{port}); "
        "run the same command again to go on",
    ]


def test_a_head_that_comes_back_in_time_ends_nothing():
    with socket.create_server(("127.0.0.1", 0)) as head:
        port = head.getsockname()[1]
        command = begun(JOINED, port, 5)
    time.sleep(1.0)
    with socket.create_server(("127.0.0.1", port)):
        done, told = command.communicate(timeout=30)
    assert (command.returncode, done) == (0, "done\n")
    assert "went away" not in told
