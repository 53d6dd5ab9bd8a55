"""Load on a service from a process of its own: clients that each ask again as soon as it answered.

    python load.py URL FILE --clients 8 --seconds 1

Prints as JSON the seconds of every answer and of all of it. Every client asks once before the
clock starts, which opens its connection. Only the standard library, so that it starts at once.
"""

import argparse
import http.client
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

PATIENCE_S = 60.0


def load(url: str, body: bytes, *, clients: int, seconds: float) -> dict[str, Any]:
    """`seconds` of every answer, in no order, and `elapsed` from the first question to the last
    answer.

    Raises:
        RuntimeError: something else than 200 came.
    """
    start = threading.Barrier(clients)

    def client(number: int) -> list[float]:
        wire = http.client.HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE_S)
        try:
            ask(wire, body)
        except BaseException:
            start.abort()
            raise
        start.wait()
        until, spent = time.monotonic() + seconds, []
        while (began := time.monotonic()) < until:
            ask(wire, body)
            spent.append(time.monotonic() - began)
        ends[number] = time.monotonic()
        begins[number] = until - seconds
        wire.close()
        return spent

    begins, ends = [0.0] * clients, [0.0] * clients
    with ThreadPoolExecutor(clients) as threads:
        every = [second for spent in threads.map(client, range(clients)) for second in spent]
    return {"seconds": every, "elapsed": max(ends) - min(begins)}


def ask(wire: http.client.HTTPConnection, body: bytes) -> bytes:
    """The answer to one clip, over a connection that is kept."""
    wire.request("POST", "/v1/clips", body, {"Content-Type": "application/octet-stream"})
    response = wire.getresponse()
    answer = response.read()
    if response.status != 200:
        raise RuntimeError(f"status {response.status}: {answer[:200]!r}")
    return answer


def main() -> None:
    """Ask, then tell."""
    options = argparse.ArgumentParser()
    options.add_argument("url")
    options.add_argument("file", type=Path)
    options.add_argument("--clients", type=int, required=True)
    options.add_argument("--seconds", type=float, required=True)
    given = options.parse_args()
    body = given.file.read_bytes()
    print(json.dumps(load(given.url, body, clients=given.clients, seconds=given.seconds)))


if __name__ == "__main__":
    main()
