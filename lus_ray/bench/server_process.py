"""A service as a process of its own for the length of a block, and closed-loop load on it."""

import http.client
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from urllib.parse import urlsplit

import psutil

from lus_ray.bench.measure import sum_cpu_s
from lus_ray.errors import LusError
from lus_ray.loopback import open_url

START_S = 180.0
RESPONSE_S = END_S = 60.0
PAUSE_S = 0.2
NUM_READY = 20  # times in a row: several processes may share its port


@dataclass(frozen=True)
class ServerProcess:
    """`ready_s` are the seconds from its start until it answered."""

    url: str
    process: psutil.Process
    ready_s: float

    def cpu_s(self) -> float:
        """CPU seconds so far of its process and of all that it started."""
        return sum_cpu_s([self.process, *self.process.children(recursive=True)])


@contextmanager
def run_server(module: str, *arguments: str) -> Iterator[ServerProcess]:
    """Start `python -m MODULE ARGUMENTS PORT`, wait until it is ready, end it after the block.

    Raises:
        LusError: it ends before it is ready, or is not ready in time; with its last line.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url, command = f"http://127.0.0.1:{port}", [sys.executable, "-m", module, *arguments, str(port)]
    with tempfile.TemporaryFile() as log:
        process = psutil.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        try:
            began, num_ready, ready_s = time.monotonic(), 0, 0.0
            while num_ready < NUM_READY:
                if process.poll() is not None or time.monotonic() > began + START_S:
                    log.seek(0)
                    last = log.read().decode(errors="replace").strip().rpartition("\n")[-1]
                    raise LusError(f"{' '.join(command[:4])} ... does not serve: {last}")
                num_ready = num_ready + 1 if _is_ready(url) else 0
                ready_s = ready_s if num_ready > 1 else time.monotonic() - began
                time.sleep(0.0 if num_ready else PAUSE_S)
            yield ServerProcess(url, process, ready_s)
        finally:
            _end(process)


def load(url: str, body: bytes, *, clients: int, seconds: float) -> tuple[list[float], float]:
    """Seconds of every response, in no order, and from the first request to the last response.

    A client sends the next request after each response. One request of each, which opens its
    connection, is not timed.

    Raises:
        LusError: a response has another status than 200.
    """
    host, post = urlsplit(url).netloc, partial(post_clip, body=body)

    def run_client(connection: http.client.HTTPConnection) -> list[float]:
        """The start and the time of every response."""
        times = [time.monotonic()]
        while times[-1] < times[0] + seconds:
            post(connection)
            times.append(time.monotonic())
        connection.close()
        return times

    connections = [http.client.HTTPConnection(host, timeout=RESPONSE_S) for _ in range(clients)]
    with ThreadPoolExecutor(clients) as threads:
        list(threads.map(post, connections))
        runs = list(threads.map(run_client, connections))
    elapsed = max(times[-1] for times in runs) - min(times[0] for times in runs)
    return [after - before for times in runs for before, after in pairwise(times)], elapsed


def post_clip(connection: http.client.HTTPConnection, body: bytes) -> bytes:
    connection.request("POST", "/v1/clips", body, {"Content-Type": "application/octet-stream"})
    response = connection.getresponse()
    content = response.read()
    if response.status != 200:
        raise LusError(f"serve: status {response.status}: {content[:200]!r}")
    return content


def _is_ready(url: str) -> bool:
    try:
        with open_url(urllib.request.Request(f"{url}/readyz"), PAUSE_S * 10):
            return True
    except OSError:
        return False


def _end(process: psutil.Popen) -> None:
    """Terminate a process as a service manager does, and kill what it leaves behind."""
    if process.poll() is None:
        started = process.children(recursive=True)
        with suppress(psutil.Error):
            process.terminate()
            process.wait(END_S)
        for left in psutil.wait_procs([*started, process], timeout=5)[1]:
            with suppress(psutil.Error):
                left.kill()
        process.wait()
