"""`lus serve` as a process of its own, and requests to it."""

import contextlib
import io
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil

from serve.cleanup import SECONDS as CLEANUP_SECONDS
from tests.object_storage import free_port

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 240
END_SECONDS = 60
LEFT_SECONDS = 30.0
PERMANENT = re.compile(
    r"/core/src/\S+/(raylet|gcs_server) |ServeController|SERVE_CONTROLLER|SERVE_REPLICA::"
)
"""Titles of the processes that a service cannot do without; Ray's idle workers come and go."""


COMMAND = """
import serve.local, serve.plan, serve.rollout
from lus_ray.cli import main
serve.local.POLL_SECONDS = serve.rollout.POLL_SECONDS = 0.3
serve.plan.COLOCATED_BYTES = 65_000
main()
"""
"""`lus` that looks for new checkpoints more often, and deploys all but the smallest ones alone."""
COLOCATED = {"aggregators", "experts-severity", "experts-sf_ratio", "segmenter"}
"""Slots of the fixtures' runs that fit; the others are composed."""
ENVIRONMENT = {"PYTHONUNBUFFERED": "1", "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.1"}


@dataclass
class Service:
    url: str
    process: subprocess.Popen[str]
    lines: "queue.Queue[str]" = field(default_factory=queue.Queue)
    read_lines: list[str] = field(default_factory=list)
    replica_titles: dict[psutil.Process, str] = field(default_factory=dict)

    def wait_for_line(self, words: str, seconds: float = 120.0) -> str:
        deadline = time.monotonic() + seconds
        while True:
            line = self.lines.get(timeout=max(0.1, deadline - time.monotonic()))
            self.read_lines.append(line)
            if words in line:
                return line

    def processes(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def replicas(self, name: str) -> list[psutil.Process]:
        """The processes of the replicas of an application, by its slot."""
        title = re.compile(rf"(ServeReplica:|SERVE_REPLICA::){name}\b")  # idle, or starting
        for process in self.processes():
            if "replica" in _title(process).lower():  # a busy one has the title of its method
                self.replica_titles[process] = _title(process)
        alive = [process for process in self.replica_titles if process.is_running()]
        return [process for process in alive if title.search(self.replica_titles[process])]

    def permanent(self) -> set[psutil.Process]:
        return {p for p in self.processes() if PERMANENT.search(_title(p)) or is_replica(p)}

    def decoders(self) -> list[psutil.Process]:
        """The processes that wait for clips; forks that decode one are left out."""
        decoders = {p.pid: p for p in self.processes() if "decoding.sandbox" in _title(p)}
        return [process for process in decoders.values() if _parent(process) not in decoders]

    def end(self, how: signal.Signals) -> list[str]:
        """End the service with a signal; returns the titles of processes that outlive it."""
        if how is signal.SIGKILL:
            time.sleep(CLEANUP_SECONDS)  # until the cleanup process has seen all of them
        started = self.processes()
        assert len(started) > 10
        self.process.send_signal(how)
        self.process.wait(LEFT_SECONDS)
        _, left = psutil.wait_procs(started, timeout=LEFT_SECONDS)
        names = [_title(process)[:80] for process in left]
        for process in left:
            process.kill()
        return names


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        return dict(json.loads(self.body))


def is_replica(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.name().startswith("ray::ServeRepli")
    return False


@contextlib.contextmanager
def serving(folder: Path, *options: str, **variables: str) -> Iterator[Service]:
    """`lus serve FOLDER` with these variables for the length of a block, ended like by Ctrl-C."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "serve", str(folder), "--port", str(port), *options],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT,
        env=os.environ | ENVIRONMENT | variables, start_new_session=True,
    )  # fmt: skip
    service = Service(f"http://127.0.0.1:{port}", process)
    threading.Thread(target=_read_output, args=(process, service.lines), daemon=True).start()
    try:
        service.wait_for_line("ready: http", START_SECONDS)
        yield service
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(END_SECONDS)


def request(url: str, body: bytes | None = None, **headers: str) -> Reply:
    """The reply of a URL; underscores in header names stand for dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if body is not None:
        named.setdefault("Content-Type", "application/octet-stream")
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, body, named), timeout=90)
    except urllib.error.HTTPError as error:
        response = error
    with response:
        return Reply(response.status, dict(response.headers), response.read())


def eventually(holds: Callable[[], bool], seconds: float = 60.0) -> bool:
    deadline = time.monotonic() + seconds
    while not (is_true := holds()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return is_true


def to_video(frames: np.ndarray, *, lossless: bool = False) -> bytes:
    """Frames (N, H, W) as H.264 in MP4, or as FFV1 in AVI, which keeps every grey value."""
    file = io.BytesIO()
    options = ("avi", "ffv1", "gray") if lossless else ("mp4", "libx264", "yuv420p")
    with av.open(file, "w", format=options[0]) as out:
        stream = out.add_stream(options[1], rate=25)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:], options[2]
        for frame in frames:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="gray")))
        out.mux(stream.encode())
    return file.getvalue()


def _read_output(process: subprocess.Popen[str], lines: "queue.Queue[str]") -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line.rstrip())


def _title(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def _parent(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error):
        return process.ppid()
    return process.pid
