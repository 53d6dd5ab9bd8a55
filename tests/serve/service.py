"""`lus serve` as a process of its own, as a user starts it, and requests that it gets."""

import contextlib
import io
import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil

from serve.cleanup import LOOK_SECONDS

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 240
END_SECONDS = 60
LEFT_SECONDS = 30.0
LASTING = re.compile(
    r"/core/src/\S+/(raylet|gcs_server) |ServeController|SERVE_CONTROLLER|"
    r"ServeReplica:|SERVE_REPLICA::"
)
"""Titles of the processes that a service cannot do without; Ray's idle workers come and go."""


@dataclass
class Service:
    """A service that runs: where it answers, its process, and the lines that it says."""

    url: str
    process: subprocess.Popen[str]
    said: "queue.Queue[str]"
    heard: list[str]

    def hears(self, words: str, seconds: float = 120.0) -> str:
        """The next line that holds these words."""
        deadline = time.monotonic() + seconds
        while True:
            line = self.said.get(timeout=max(0.1, deadline - time.monotonic()))
            self.heard.append(line)
            if words in line:
                return line

    def processes(self) -> list[psutil.Process]:
        """Everything that it started, Ray's own processes with it."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def replicas(self, name: str) -> list[psutil.Process]:
        """The processes of the replicas of an application, by the name before its tag."""
        title = re.compile(rf"(ServeReplica:|SERVE_REPLICA::){name}\b")  # at rest, or at its start
        return [one for one in self.processes() if title.search(_title(one))]

    def lasting(self) -> set[psutil.Process]:
        """All that lives as long as the service, told from newer processes with its numbers."""
        return {one for one in self.processes() if LASTING.search(_title(one))}

    def decoders(self) -> list[psutil.Process]:
        """The processes that wait for clips to decode; forks that decode one are left out."""
        found = {one.pid: one for one in self.processes() if "ingest.child" in _title(one)}
        return [one for one in found.values() if _parent(one) not in found]

    def left_by(self, how: signal.Signals) -> list[str]:
        """End the service with a signal: the titles of what lives on, which is killed then."""
        if how is signal.SIGKILL:
            time.sleep(LOOK_SECONDS)  # until the sweeper has seen all of them
        started = self.processes()
        assert len(started) > 10
        began = time.monotonic()
        self.process.send_signal(how)
        self.process.wait(LEFT_SECONDS)
        _, left = psutil.wait_procs(started, timeout=LEFT_SECONDS)
        print(f"\n  {how.name}: {len(started)} processes, {time.monotonic() - began:.1f} s")
        names = [_title(process)[:80] for process in left]
        for process in left:
            process.kill()
        return names


@dataclass
class Reply:
    """An answer, whatever its status."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        """The body as JSON."""
        return dict(json.loads(self.body))


@contextlib.contextmanager
def serving(folder: Path, *options: str) -> Iterator[Service]:
    """`lus serve FOLDER` for the length of a block, ended as Ctrl-C ends it."""
    port = free_port()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # so does a shell in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [sys.executable, "-m", "lus_ray.cli", "serve", str(folder), "--port", str(port), *options],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"}, start_new_session=True,
    )  # fmt: skip
    service = Service(f"http://127.0.0.1:{port}", process, queue.Queue(), [])
    threading.Thread(target=_listen, args=(process, service.said), daemon=True).start()
    try:
        service.hears("serving at", START_SECONDS)
        yield service
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(END_SECONDS)


def ask(url: str, body: bytes | None = None, *, method: str | None = None, **headers: str) -> Reply:
    """What a URL answers; underscores of header names stand for dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if body is not None:
        named.setdefault("Content-Type", "application/octet-stream")
    request = urllib.request.Request(url, body, named, method=method)
    try:
        with urllib.request.urlopen(request, timeout=90) as response:
            return Reply(response.status, dict(response.headers), response.read())
    except urllib.error.HTTPError as error:
        return Reply(error.code, dict(error.headers), error.read())


def film(frames: np.ndarray, *, lossless: bool = False) -> bytes:
    """Frames (N, H, W) as a film: H.264 in MP4, or FFV1 in AVI, which keeps every grey value."""
    file = io.BytesIO()
    container, codec, pixels = (
        ("avi", "ffv1", "gray") if lossless else ("mp4", "libx264", "yuv420p")
    )
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:], pixels
        for frame in frames:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="gray")))
        out.mux(stream.encode())
    return file.getvalue()


def free_port() -> int:
    """A port of this machine where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listen(process: subprocess.Popen[str], said: "queue.Queue[str]") -> None:
    assert process.stdout is not None
    for line in process.stdout:
        said.put(line.rstrip())


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _parent(process: psutil.Process) -> int:
    try:
        return process.ppid()
    except psutil.Error:
        return process.pid
