"""A laptop and its hosts on one machine: `ray up` over SSH, a job through the tunnel, `ray down`.

Run in namespaces of its own (network, processes, mounts) as

    unshare --net --pid --fork --kill-child --mount --mount-proc \
        python -m tests.orchestration.cluster.hosts CLONE FOLDER

where a bridge joins the laptop to hosts that are namespaces, too. They share the environment and
FOLDER; observations go to FOLDER/observed.json. All processes end with the outermost one.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.orchestration.cluster.project import ROOT, on_premises

ENVIRONMENT = Path(sys.prefix)
LAPTOP = "10.77.0.1"
HOSTS = {"head": "10.77.0.2", "worker1": "10.77.0.3"}
ARMS = "prior*,logistic*"
RAY = ("raylet", "gcs_server")
QUICK = (
    "OMP_NUM_THREADS=1",
    "PYTHONWARNINGS=ignore",
    "AUTOSCALER_UPDATE_INTERVAL_S=1",
    "AUTOSCALER_NODE_SSH_INTERVAL_S=1",
    "RAY_gcs_rpc_server_reconnect_timeout_s=10",  # a worker gives up a lost head a minute later
)


def main(clone: Path, folder: Path) -> None:
    """The laptop: start the hosts, use the cluster as the README describes, stop it."""
    set_up_laptop(folder)
    for name, address in HOSTS.items():
        start_host(name, address, folder)
    config = folder / "cluster.yaml"
    config.write_text(yaml.safe_dump(configuration(folder)))
    os.chdir(clone)
    observed: dict[str, Any] = {}
    try:
        observed["up"] = run_as_user("ray", "up", "-y", config, timeout=240)
        with tunnel(config):
            observed["nodes"] = await_nodes(len(HOSTS))
            observed["open"] = {str(port): is_open(HOSTS["head"], port) for port in (8265, 22)}
            observed["job"] = run_as_user(
                "ray", "job", "submit", "--address", "http://127.0.0.1:8265", "--working-dir", ".",
                "--", "lus", "run", "biomarkers", "--smoke", "--arms", ARMS,
                "--out", folder / "run", timeout=400,
            )  # fmt: skip
        observed["down"] = run_as_user("ray", "down", "-y", config, timeout=120)
        observed["left"] = left_over()
    finally:
        (folder / "observed.json").write_text(json.dumps(observed))


def set_up_laptop(folder: Path) -> None:
    """A bridge for the hosts, and a home with the token and a key."""
    home = folder / "laptop"
    (home / ".ray").mkdir(parents=True)
    private_folders()
    os.environ.update(
        {"HOME": str(home), "RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0",
         "PATH": f"{ENVIRONMENT / 'bin'}:{os.environ['PATH']}", "PYTHONWARNINGS": "ignore"}
    )  # fmt: skip
    os.environ.pop("RAY_ADDRESS", None)
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", "hosts", "type", "bridge")
    run("ip", "address", "add", f"{LAPTOP}/24", "dev", "hosts")
    run("ip", "link", "set", "hosts", "up")
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "key")
    run("ray", "get-auth-token", "--generate")
    (home / ".ray" / "auth_token").chmod(0o600)


def start_host(name: str, address: str, folder: Path) -> None:
    process = subprocess.Popen(
        ["unshare", "--net", "--uts", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc",
         sys.executable, "-m", __spec__.name, "--host", name, address, str(folder)],
        cwd=ROOT, stderr=(folder / f"{name}.log").open("wb"),
    )  # fmt: skip
    own = Path("/proc/self/ns/net").readlink()
    while Path(f"/proc/{process.pid}/ns/net").readlink() == own:
        time.sleep(0.05)
    run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", process.pid)
    run("ip", "link", "set", name, "master", "hosts", "up")
    deadline = time.monotonic() + 30
    while not is_open(address, 22):
        if process.poll() is not None or time.monotonic() > deadline:
            raise OSError(f"{name} did not come up: {(folder / f'{name}.log').read_text()}")
        time.sleep(0.2)


def become_host(name: str, address: str, folder: Path) -> None:
    """Set up address, home and SSH server inside a host's namespaces; does not return."""
    home = folder / name
    home.mkdir()
    (home / "lus-env").symlink_to(ENVIRONMENT)
    socket.sethostname(name)
    run("ip", "link", "set", "lo", "up")
    while subprocess.run(["ip", "link", "show", "eth0"], capture_output=True).returncode:
        time.sleep(0.05)
    run("ip", "address", "add", f"{address}/24", "dev", "eth0")
    run("ip", "link", "set", "eth0", "up")
    run("ip", "route", "add", "default", "via", LAPTOP)  # Ray asks the routes for its own address
    private_folders()
    accounts(home)
    run("mount", "-t", "tmpfs", "run", "/run")
    Path("/run/sshd").mkdir()
    key = home / "host_key"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
    config = home / "sshd_config"
    config.write_text(
        f"ListenAddress {address}\nHostKey {key}\nAuthorizedKeysFile {folder / 'key.pub'}\n"
        "AuthenticationMethods publickey\nPermitRootLogin prohibit-password\nStrictModes no\n"
        "UsePAM no\nPidFile none\nMaxStartups 50\nMaxSessions 50\n"
        f"SetEnv {' '.join(QUICK)}\n"
    )
    sshd = shutil.which("sshd") or "/usr/sbin/sshd"
    os.execv(sshd, [sshd, "-D", "-e", "-f", str(config)])


def private_folders() -> None:
    for folder in ("/tmp/ray", "/dev/shm"):
        Path(folder).mkdir(exist_ok=True)
        run("mount", "-t", "tmpfs", "private", folder)


def accounts(home: Path) -> None:
    users = f"root:x:0:0:root:{home}:/bin/bash\nsshd:x:100:65534::/run/sshd:/bin/false"
    passwords = "root:*:19000:0:99999:7:::"
    for path, line in (("/etc/passwd", users), ("/etc/shadow", passwords)):
        own = home / Path(path).name
        own.write_text(line + "\n")
        run("mount", "--bind", own, path)


def configuration(folder: Path) -> dict[str, Any]:
    head, *workers = HOSTS.values()
    config = on_premises()
    return config | {
        "cluster_name": "hosts",
        "provider": {"type": "local", "head_ip": head, "worker_ips": workers},
        "auth": {"ssh_user": "root", "ssh_private_key": str(folder / "key")},
        "max_workers": len(workers),
        "setup_commands": [line for line in config["setup_commands"] if "pip" not in line],
    }


@contextlib.contextmanager
def tunnel(config: Path):  # type: ignore[no-untyped-def]
    process = subprocess.Popen(
        [ENVIRONMENT / "bin" / "ray", "dashboard", str(config)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not is_open("127.0.0.1", 8265):
        assert time.monotonic() < deadline, "no tunnel to the dashboard"
        time.sleep(0.5)
    try:
        yield
    finally:
        for child in psutil.Process(process.pid).children(recursive=True):
            child.terminate()
        process.terminate()


def await_nodes(count: int) -> list[dict[str, Any]]:
    token = (Path(os.environ["HOME"]) / ".ray" / "auth_token").read_text()
    deadline = time.monotonic() + 180
    while True:
        request = urllib.request.Request(
            "http://127.0.0.1:8265/api/v0/nodes", headers={"Authorization": f"Bearer {token}"}
        )
        with urllib.request.urlopen(request, timeout=30) as reply:
            nodes = json.load(reply)["data"]["result"]["result"]
        alive = [
            {"address": n["node_ip"], "head": n["is_head_node"], "has": n["resources_total"]}
            for n in nodes
            if n["state"] == "ALIVE"
        ]
        if len(alive) >= count or time.monotonic() > deadline:
            return alive
        time.sleep(1)


def run_as_user(*words: object, timeout: float) -> dict[str, Any]:
    completed = subprocess.run(
        [*map(str, words)], timeout=timeout, text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return {"code": completed.returncode, "output": completed.stdout[-6000:]}


def is_open(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=2):
            return True
    except OSError:
        return False


def left_over() -> list[str]:
    """Ray's servers on any host; a worker's ends some time after the head's."""
    deadline = time.monotonic() + 120
    while True:
        servers = [p.name() for p in psutil.process_iter() if p.name() in RAY]
        if not servers or time.monotonic() > deadline:
            return servers
        time.sleep(0.5)


def run(*words: object) -> None:
    subprocess.run([*map(str, words)], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    if sys.argv[1] == "--host":
        become_host(sys.argv[2], sys.argv[3], Path(sys.argv[4]))
    else:
        main(Path(sys.argv[1]), Path(sys.argv[2]))
