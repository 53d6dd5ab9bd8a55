"""Load on a service, from a process of its own: prints every request that it made as JSON.

python -m tests.serve.hammer URL CLIP --seconds 5 --clients 8      each asks again at once
python -m tests.serve.hammer URL CLIP --seconds 5 --rate 100       so many a second come
"""

import argparse
import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]
NUM_THREADS = 64
PATIENCE_SECONDS = 60.0
WIRES = threading.local()


@dataclass(frozen=True)
class Shot:
    """One request: when it began, how long it took, the last status, and how it came to that.

    `begun` is the wall clock, `seconds` without waiting for further attempts, `server_ms` the
    total that the answer tells. `again` are the values of Retry-After of earlier attempts, or of
    the only one; an empty one was missing. `status` 0 means that no answer came.
    """

    begun: float
    seconds: float
    status: int
    server_ms: float
    num_attempts: int
    again: tuple[str, ...]
    text: str


def hammer(
    url: str, clip: Path, *, seconds: float, clients: int = 0, rate: float = 0.0,
    patient: bool = False,
) -> "subprocess.Popen[str]":  # fmt: skip
    """Start this module as a process; `shots` gets what it found."""
    load = ["--rate", str(rate)] if rate else ["--clients", str(clients)]
    command = [sys.executable, "-m", "tests.serve.hammer", url, str(clip), *load]
    command += ["--seconds", str(seconds), *(["--patient"] if patient else [])]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def shots(process: "subprocess.Popen[str]") -> list[Shot]:
    """All requests of a process, which ends."""
    text, _ = process.communicate(timeout=300)
    return [Shot(**shot) for shot in json.loads(text)]


def main() -> None:
    """Shoot, then tell."""
    options = argparse.ArgumentParser()
    options.add_argument("url")
    options.add_argument("clip", type=Path)
    options.add_argument("--seconds", type=float, required=True)
    options.add_argument("--clients", type=int, default=0)
    options.add_argument("--rate", type=float, default=0.0)
    options.add_argument("--patient", action="store_true", help="ask again after 429 and 503")
    given = options.parse_args()
    body, until = given.clip.read_bytes(), time.monotonic() + given.seconds

    def one() -> Shot:
        return shoot(given.url, body, patient=given.patient)

    def client() -> list[Shot]:
        made = []
        while time.monotonic() < until:
            made.append(one())
        return made

    with ThreadPoolExecutor(given.clients or NUM_THREADS) as threads:
        if given.clients:
            every = [threads.submit(client) for _ in range(given.clients)]
            made = [shot for shots_of_one in every for shot in shots_of_one.result()]
        else:
            made = [shot.result() for shot in _at_a_rate(threads, one, given.rate, until)]
    print(json.dumps([asdict(shot) for shot in made]))


BROKEN = "0.5"
"""Seconds after which a patient client comes again that had no answer at all."""


def shoot(url: str, body: bytes, *, patient: bool = False) -> Shot:
    """One clip; a patient client comes again after 429 and 503 as it is told to.

    After a connection that broke too, as asking twice is safe: nobody is left to tell it when.
    """
    begun, again = time.time(), []
    while True:
        began = time.monotonic()
        status, after, text = _ask(url, body)
        seconds = time.monotonic() - began
        if status != 200:
            again.append(after)
        late = time.time() - begun > PATIENCE_SECONDS
        if not patient or late or status not in (0, 429, 503) or not after:
            break
        time.sleep(float(after))
    server_ms = json.loads(text)["timings_ms"]["total"] if status == 200 else 0.0
    num_attempts = len(again) + (status == 200)
    return Shot(begun, seconds, status, server_ms, num_attempts, tuple(again),
                "" if status == 200 else text[:200])  # fmt: skip


def _ask(url: str, body: bytes) -> tuple[int, str, str]:
    fresh = getattr(WIRES, "wire", None) is None
    if fresh:
        WIRES.wire = http.client.HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE_SECONDS)
    try:
        headers = {"Content-Type": "application/octet-stream"}
        WIRES.wire.request("POST", "/v1/clips", body, headers)
        response = WIRES.wire.getresponse()
        text = response.read().decode()
        return response.status, response.headers.get("Retry-After", ""), text
    except (OSError, http.client.HTTPException) as error:
        WIRES.wire = None
        if fresh:
            return 0, BROKEN, repr(error)
        return _ask(url, body)  # the server had closed a connection that waited


def _at_a_rate(
    threads: ThreadPoolExecutor, one: Callable[[], Shot], rate: float, until: float
) -> "list[Future[Shot]]":
    """Requests that come whether or not the earlier ones were answered."""
    made, due = [], time.monotonic()
    while due < until:
        time.sleep(max(0.0, due - time.monotonic()))
        made.append(threads.submit(one))
        due += 1 / rate
    return made


if __name__ == "__main__":
    main()
