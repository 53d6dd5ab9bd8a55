"""Load on a service from a process of its own, which prints its requests as JSON at its end.

It ends after `--seconds`, or when its standard input closes.

python -m tests.serve.load_client URL CLIP --clients 8             each sends without a pause
python -m tests.serve.load_client URL CLIP --rate 100 --seconds 5  so many requests a second
"""

import argparse
import contextlib
import http.client
import json
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]
NUM_THREADS = 64
PATIENCE_SECONDS = 60.0
CONNECTION_LOST = "0.5"
"""Seconds after which a patient client retries a request that got no response."""
CONNECTIONS = threading.local()


@dataclass(frozen=True)
class SentRequest:
    """One request: its start (wall clock), its duration without waits, its last status.

    `server_ms` is the total in the response. `retry_after` are the headers of failed attempts,
    empty where missing. Status 0 means no response.
    """

    start: float
    seconds: float
    status: int
    server_ms: float
    num_attempts: int
    retry_after: tuple[str, ...]


@contextlib.contextmanager
def load(
    url: str, clip: Path, *, clients: int = 1, rate: float = 0.0, patient: bool = False
) -> Iterator[list[SentRequest]]:
    """Requests during a block; the list is filled at its end."""
    process = _start(url, clip, clients, rate, math.inf, patient)
    requests: list[SentRequest] = []
    try:
        yield requests
    finally:
        requests += _finish(process)


def load_for(
    seconds: float, url: str, clip: Path, *, clients: int = 1, rate: float = 0.0
) -> list[SentRequest]:
    return _finish(_start(url, clip, clients, rate, seconds, False), close=False)


def send(url: str, body: bytes, *, patient: bool = False) -> SentRequest:
    """Send a clip; a patient client follows Retry-After, and retries a lost connection."""
    start, retry_after = time.time(), []
    while True:
        began = time.monotonic()
        status, after, text = _post(url, body)
        seconds = time.monotonic() - began
        if status != 200:
            retry_after.append(after)
        late = time.time() - start > PATIENCE_SECONDS
        if not patient or late or status not in (0, 429, 503) or not after:
            break
        time.sleep(float(after))
    server_ms = json.loads(text)["timings_ms"]["total"] if status == 200 else 0.0
    num_attempts = len(retry_after) + (status == 200)
    return SentRequest(start, seconds, status, server_ms, num_attempts, tuple(retry_after))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("clip", type=Path)
    parser.add_argument("--seconds", type=float, default=math.inf)
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--patient", action="store_true")
    options = parser.parse_args()
    body, stop = options.clip.read_bytes(), threading.Event()
    threading.Thread(target=lambda: (os.read(0, 1), stop.set()), daemon=True).start()
    until = time.monotonic() + options.seconds

    def send_until_end() -> list[SentRequest]:
        sent = []
        while time.monotonic() < until and not stop.is_set():
            sent.append(send(options.url, body, patient=options.patient))
        return sent

    with ThreadPoolExecutor(NUM_THREADS if options.rate else options.clients) as threads:
        if options.rate:
            futures, due = [], time.monotonic()
            while due < until and not stop.wait(max(0.0, due - time.monotonic())):
                futures.append(threads.submit(send, options.url, body))
                due += 1 / options.rate
            sent = [future.result() for future in futures]
        else:
            clients = [threads.submit(send_until_end) for _ in range(options.clients)]
            sent = [request for client in clients for request in client.result()]
    print(json.dumps([asdict(request) for request in sent]))


def _start(
    url: str, clip: Path, clients: int, rate: float, seconds: float, patient: bool
) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.serve.load_client", url, str(clip)]
    command += ["--clients", str(clients), "--rate", str(rate), "--seconds", str(seconds)]
    command += ["--patient"] if patient else []
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen(command, text=True, cwd=ROOT, **pipes)  # type: ignore[call-overload]


def _finish(process: "subprocess.Popen[str]", *, close: bool = True) -> list[SentRequest]:
    assert process.stdout is not None
    # `communicate` closes the standard input, which ends the load.
    text = process.communicate(timeout=90)[0] if close else process.stdout.read()
    requests = json.loads(text)
    process.wait(30)
    return [SentRequest(**{**r, "retry_after": tuple(r["retry_after"])}) for r in requests]


def _post(url: str, body: bytes) -> tuple[int, str, str]:
    connection = getattr(CONNECTIONS, "connection", None)
    is_new = connection is None
    if connection is None:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE_SECONDS)
        CONNECTIONS.connection = connection
    try:
        headers = {"Content-Type": "application/octet-stream"}
        connection.request("POST", "/v1/clips", body, headers)
        response = connection.getresponse()
        text = response.read().decode()
        return response.status, response.headers.get("Retry-After", ""), text
    except (OSError, http.client.HTTPException) as error:
        CONNECTIONS.connection = None
        if is_new:
            return 0, CONNECTION_LOST, repr(error)
        return _post(url, body)  # the server had closed an idle connection


if __name__ == "__main__":
    main()
