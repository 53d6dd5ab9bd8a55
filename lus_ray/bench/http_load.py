"""Closed-loop load on a service: clients that send the next request after each response.

    python http_load.py URL FILE CLIENTS SECONDS

Prints the report as JSON. Every client sends one request before the clock starts, which opens its
connection. Only the standard library, so that it starts at once.
"""

import http.client
import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_S = 60.0


def load(url: str, body: bytes, *, clients: int, seconds: float) -> dict[str, Any]:
    """`seconds` of every response in no order, `elapsed` from the first request to the last.

    Raises:
        RuntimeError: a response has another status than 200.
    """
    start = threading.Barrier(clients)

    def run_client(number: int) -> list[float]:
        """The start and the time of every response."""
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=TIMEOUT_S)
        try:
            post_clip(connection, body)
        except BaseException:
            start.abort()
            raise
        start.wait()
        times = [time.monotonic()]
        while times[-1] < times[0] + seconds:
            post_clip(connection, body)
            times.append(time.monotonic())
        connection.close()
        return times

    with ThreadPoolExecutor(clients) as threads:
        runs = list(threads.map(run_client, range(clients)))
    elapsed = max(times[-1] for times in runs) - min(times[0] for times in runs)
    spent = [after - before for times in runs for before, after in pairwise(times)]
    return {"seconds": spent, "elapsed": elapsed}


def post_clip(connection: http.client.HTTPConnection, body: bytes) -> None:
    connection.request("POST", "/v1/clips", body, {"Content-Type": "application/octet-stream"})
    response = connection.getresponse()
    content = response.read()
    if response.status != 200:
        raise RuntimeError(f"status {response.status}: {content[:200]!r}")


if __name__ == "__main__":
    url, file, clients, seconds = sys.argv[1:]
    body = Path(file).read_bytes()
    print(json.dumps(load(url, body, clients=int(clients), seconds=float(seconds))))
