"""A `ray start --head` with free ports on loopback, a folder of its own, and no leftovers."""

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

MARK = "LUS_TEST_CLUSTER"
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Head:
    folder: Path
    port: int
    dashboard_port: int
    client_port: int
    environment: dict[str, str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.dashboard_port}"

    def get(self, path: str) -> Any:
        """The dashboard's response to a request with the token."""
        token = (self.folder / ".ray" / "auth_token").read_text()
        request = urllib.request.Request(
            self.url + path, headers={"Authorization": f"Bearer {token}"}
        )
        with urllib.request.urlopen(request, timeout=30) as reply:
            return json.load(reply)

    def run(self, *words: object, timeout: float = 180, **options: object) -> str:
        completed = subprocess.run(
            [str(BIN / str(words[0])), *map(str, words[1:])],
            env=self.environment, timeout=timeout, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options,
        )  # type: ignore[call-overload]  # fmt: skip
        return str(completed.stdout)


@contextlib.contextmanager
def head(*options: str, autoscaling: dict[str, Any] | None = None) -> Iterator[Head]:
    """Ray's head for the length of the block; it requires a token.

    `autoscaling` configures an autoscaler whose nodes are simulated on this machine.
    """
    folder = Path(tempfile.mkdtemp(prefix="lus", dir="/tmp"))  # sockets need a short path
    mark = secrets.token_hex(8)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    environment |= {
        MARK: mark, "HOME": str(folder), "PATH": f"{BIN}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0", "PYTHONWARNINGS": "ignore",
        "RAY_AUTH_MODE": "token", "RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S": "120",
    }  # fmt: skip
    subprocess.run(
        [BIN / "ray", "get-auth-token", "--generate"], env=environment, check=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    port, dashboard_port, client_port, agent_port = free_ports(4)
    command: list[str | Path] = [
        BIN / "ray", "start", "--head", "--block", "--node-ip-address=127.0.0.1",
        "--dashboard-host=127.0.0.1", f"--port={port}", f"--dashboard-port={dashboard_port}",
        f"--ray-client-server-port={client_port}", f"--dashboard-agent-listen-port={agent_port}",
        "--min-worker-port=0", "--max-worker-port=0",
        f"--temp-dir={folder / 'ray'}", f"--object-store-memory={200 << 20}", *options,
    ]  # fmt: skip
    if autoscaling is not None:
        provider = {
            "type": "fake_multinode", "gcs_address": f"127.0.0.1:{port}",
            "use_node_id_as_ip": True,  # all nodes share this machine's address
            "launch_multiple": True,
            "disable_node_updaters": True, "disable_launch_config_check": True,
        }  # fmt: skip
        (folder / "nodes.yaml").write_text(json.dumps(autoscaling | {"provider": provider}))
        command.append(f"--autoscaling-config={folder / 'nodes.yaml'}")
        environment |= {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
    log = folder / "start.log"
    try:
        with log.open("wb") as file:
            process = subprocess.Popen(
                command, env=environment, stdout=file, stderr=file, start_new_session=True
            )
        for listener in (dashboard_port, client_port):  # clients are accepted after the node is up
            await_listener(listener, process, log)
        yield Head(folder, port, dashboard_port, client_port, environment)
    finally:
        end_all(mark, folder)
        shutil.rmtree(folder, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    """Free ports of loopback, below those that the system assigns itself."""
    ports: set[int] = set()
    while len(ports) < count:
        port = 20000 + secrets.randbelow(12000)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            ports.add(port)
    return list(ports)


def await_listener(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.2)
    pytest.fail(f"Ray's head did not come up: {log.read_text()[-2000:]}")


def end_all(mark: str, folder: Path) -> None:
    deadline = time.monotonic() + 30
    while processes := own_processes(mark, folder):
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(processes, timeout=5)
        assert time.monotonic() < deadline, f"processes that cannot be ended: {processes}"


def own_processes(mark: str, folder: Path) -> list[psutil.Process]:
    """Living processes with the mark or, as Ray's agents overwrite it, files in the folder."""
    processes = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            paths = (Path(file.path) for file in process.open_files())
            if process.environ().get(MARK) == mark or any(folder in p.parents for p in paths):
                processes.append(process)
    return processes
