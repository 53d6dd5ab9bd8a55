"""A cluster that goes away ends its command; stand-ins have the names of Ray's processes."""

import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from lus_ray.orchestration.cluster import watchdog

OWN = """
import subprocess, sys, time
from lus_ray.orchestration.cluster import watchdog
watchdog.OWN_POLL_S, watchdog.ENDED_S = 0.05, 0.2
for name in ("gcs_server", "raylet"):
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.Popen([f"{sys.argv[1]}/{name}", "60"], **silent)
with watchdog.ClusterWatchdog(own=True) as dog:
    dog.attach()
    while len(dog.processes) < 2:
        time.sleep(0.05)
    print("started", flush=True)
    time.sleep(60)
"""
JOINED = """
import sys, time
from lus_ray.orchestration.cluster import watchdog
watchdog.JOINED_POLL_S, watchdog.NOTICE_S, watchdog.SILENT_S = 0.1, 0.3, 1.0
with watchdog.ClusterWatchdog(own=False) as dog:
    dog.running.set()
    dog.head = ("127.0.0.1", int(sys.argv[1]))
    print("started", flush=True)
    time.sleep(float(sys.argv[2]))
print("done", flush=True)
"""


def start(script: str, *words: object) -> subprocess.Popen[str]:
    command = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert command.stdout is not None
    assert command.stdout.readline() == "started\n"
    return command


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gcs_server", "raylet"])
def test_a_dead_process_of_an_own_cluster_ends_the_command(tmp_path: Path, name: str):
    for program in ("gcs_server", "raylet"):
        shutil.copy2(shutil.which("sleep") or "/bin/sleep", tmp_path / program)
    command = start(OWN, tmp_path)
    children = {child.name(): child for child in psutil.Process(command.pid).children()}
    children[name].send_signal(signal.SIGKILL)
    _, errors = command.communicate(timeout=30)
    for child in children.values():
        child.kill()
    assert command.returncode == 1
    assert errors == (
        f"lus: the Ray cluster went away (its {name} ended); run the same command again to resume\n"
    )


def test_the_raylet_of_another_node_on_this_machine_is_not_ours(tmp_path):
    shutil.copy2(shutil.which("sh") or "/bin/sh", tmp_path / "raylet")
    sockets = [f"{tmp_path}/sockets/raylet{number}" for number in (".1", "", ".2")]
    command, pipe = [tmp_path / "raylet", "-c", "echo; read line"], subprocess.PIPE
    options = [f"--raylet_socket_name={socket}" for socket in sockets]
    nodes = [subprocess.Popen([*command, o], stdin=pipe, stdout=pipe) for o in options]
    assert [node.stdout.readline() for node in nodes] == [b"\n"] * 3
    for node, socket_name in zip(nodes, sockets, strict=True):
        assert watchdog.find_raylet(socket_name).pid == node.pid
    for node in nodes:
        node.communicate()
    assert watchdog.find_raylet(sockets[1]) is None


@pytest.mark.slow
@pytest.mark.parametrize("comes_back", [False, True])
def test_a_silent_head_gets_time_to_come_back(comes_back):
    with socket.create_server(("127.0.0.1", 0)) as head:
        port = head.getsockname()[1]
        command = start(JOINED, port, 3)
    if comes_back:
        with socket.create_server(("127.0.0.1", port)):
            output, errors = command.communicate(timeout=30)
        assert (command.returncode, output) == (0, "done\n")
        assert "went away" not in errors
    else:
        _, errors = command.communicate(timeout=30)
        assert command.returncode == 1
        assert errors.splitlines() == [
            f"the Ray cluster: nobody answers at 127.0.0.1:{port}; waiting for it",
            f"lus: the Ray cluster went away (nobody answers at 127.0.0.1:{port}); "
            "run the same command again to resume",
        ]


@pytest.mark.slow
def test_a_joined_cluster_that_does_not_start_ends_the_command():
    command = start(JOINED.replace("dog.running.set()", ""), 1, 60)
    _, errors = command.communicate(timeout=30)
    assert command.returncode == 1
    assert errors.splitlines()[-1] == (
        "lus: Ray did not start (no response for 1 s); run the same command again to resume"
    )
