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
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=TIMEOUT_S)
        try:
            post_clip(connection, body)
        except BaseException:
            start.abort()
            raise
        start.wait()
        begins[number], spent = time.monotonic(), []
        while (began := time.monotonic()) < begins[number] + seconds:
            post_clip(connection, body)
            spent.append(time.monotonic() - began)
        ends[number] = time.monotonic()
        connection.close()
        return spent

    begins, ends = [0.0] * clients, [0.0] * clients
    with ThreadPoolExecutor(clients) as threads:
        every = [second for spent in threads.map(run_client, range(clients)) for second in spent]
    return {"seconds": every, "elapsed": max(ends) - min(begins)}


def post_clip(connection: http.client.HTTPConnection, body: bytes) -> None:
    """Send one clip over a connection that is kept, and read the response."""
    connection.request("POST", "/v1/clips", body, {"Content-Type": "application/octet-stream"})
    response = connection.getresponse()
    content = response.read()
    if response.status != 200:
        raise RuntimeError(f"status {response.status}: {content[:200]!r}")


if __name__ == "__main__":
    url, file, clients, seconds = sys.argv[1:]
    body = Path(file).read_bytes()
    print(json.dumps(load(url, body, clients=int(clients), seconds=float(seconds))))
