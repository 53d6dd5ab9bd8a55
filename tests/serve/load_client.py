"""Load on a service from a process of its own, which prints its requests as JSON at its end.

It ends after a number of seconds, or when its standard input closes. Clients send without a pause,
or, with a rate, so many requests a second.

    python -m tests.serve.load_client '[URL, CLIP, CLIENTS, RATE, SECONDS, PATIENT]'
"""

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
NO_RESPONSE = (OSError, http.client.HTTPException)


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
    process = _start(url, clip, clients, rate, math.inf, patient)
    requests: list[SentRequest] = []
    try:
        yield requests
    finally:
        requests += _read(process.communicate(timeout=90)[0])  # closes its standard input


def load_for(
    seconds: float, url: str, clip: Path, *, clients: int = 1, rate: float = 0.0
) -> list[SentRequest]:
    with _start(url, clip, clients, rate, seconds, False) as process:
        return _read(process.stdout.read())


def send(url: str, body: bytes, *, patient: bool = False) -> SentRequest:
    """Send a clip; a patient client follows Retry-After, and retries a lost connection."""
    start, retry_after = time.time(), []
    while True:
        began = time.monotonic()
        try:
            status, headers, text = post(url, body, {"Content-Type": "application/octet-stream"})
        except NO_RESPONSE:
            status, headers, text = 0, {"retry-after": CONNECTION_LOST}, b""
        seconds, after = time.monotonic() - began, headers.get("retry-after", "")
        if status != 200:
            retry_after.append(after)
        late = time.time() - start > PATIENCE_SECONDS
        if not patient or late or status not in (0, 429, 503) or not after:
            break
        time.sleep(float(after))
    server_ms = json.loads(text)["timings_ms"]["total"] if status == 200 else 0.0
    num_attempts = len(retry_after) + (status == 200)
    return SentRequest(start, seconds, status, server_ms, num_attempts, tuple(retry_after))


def main(url: str, clip: str, clients: int, rate: float, seconds: float, patient: bool) -> None:
    body, stop = Path(clip).read_bytes(), threading.Event()
    threading.Thread(target=lambda: (os.read(0, 1), stop.set()), daemon=True).start()
    until = time.monotonic() + seconds

    def send_until_end() -> list[SentRequest]:
        sent = []
        while time.monotonic() < until and not stop.is_set():
            sent.append(send(url, body, patient=patient))
        return sent

    with ThreadPoolExecutor(NUM_THREADS if rate else clients) as threads:
        if rate:
            futures, due = [], time.monotonic()
            while due < until and not stop.wait(max(0.0, due - time.monotonic())):
                futures.append(threads.submit(send, url, body))
                due += 1 / rate
            sent = [future.result() for future in futures]
        else:
            loops = [threads.submit(send_until_end) for _ in range(clients)]
            sent = [request for loop in loops for request in loop.result()]
    print(json.dumps([asdict(request) for request in sent]))


def _start(url: str, clip: Path, *options: float) -> "subprocess.Popen[str]":
    command = [
        sys.executable,
        "-m",
        "tests.serve.load_client",
        json.dumps([url, str(clip), *options]),
    ]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, text=True, cwd=ROOT, stdin=pipe, stdout=pipe)


def _read(text: str) -> list[SentRequest]:
    return [SentRequest(**{**r, "retry_after": tuple(r["retry_after"])}) for r in json.loads(text)]


def post(
    url: str, body: bytes, headers: dict[str, str], query: str = ""
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the reply over this thread's connection."""
    netloc = urlsplit(url).netloc
    kept = getattr(CONNECTIONS, netloc, None)
    connection = kept or http.client.HTTPConnection(netloc, timeout=PATIENCE_SECONDS)
    setattr(CONNECTIONS, netloc, connection)
    try:
        connection.request("POST", f"/v1/clips{query}", body, headers)
        response = connection.getresponse()
        named = {name.lower(): value for name, value in response.headers.items()}
        return response.status, named, response.read()
    except NO_RESPONSE:
        delattr(CONNECTIONS, netloc)
        if kept is None:
            raise
        return post(url, body, headers, query)  # the server had closed an idle connection


if __name__ == "__main__":
    main(*json.loads(sys.argv[1]))
