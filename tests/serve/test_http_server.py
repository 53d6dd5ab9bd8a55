"""Every connection has a time limit, from its head to the last byte of the response."""

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from lus_ray.inference.limits import ServiceLimits
from serve.http_server import HttpServer

pytestmark = pytest.mark.slow
SECONDS = 1.0
LIMITS = ServiceLimits(idle_seconds=SECONDS, request_seconds=SECONDS / 2)
PATIENCE = 10 * SECONDS
"""Of the client, on a busy machine; the server's limits are far below."""
LARGE = 32 * 2**20
"""Bytes of a response that no system buffer holds completely."""
ESTABLISHED = 1
GET = b"GET /%s HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Responds at once: `/large` with much, `/never` not at all, others briefly."""
    while scope["path"] == "/never" and (await receive())["type"] != "http.disconnect":
        pass
    body = b"\0" * (LARGE if scope["path"] == "/large" else 2)
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": body})


def connection_seconds(talk: Callable[[socket.socket], None]) -> float:
    async def listening() -> float:
        server = HttpServer(application, LIMITS)
        serving = server.start("127.0.0.1", 0)
        address = server.socket.getsockname()
        seconds = await asyncio.to_thread(_measure, address, talk)
        server.close()
        await serving
        return seconds

    return asyncio.run(listening())


def _measure(address: Any, talk: Callable[[socket.socket], None]) -> float:
    with socket.create_connection(address, timeout=PATIENCE) as client:
        talk(client)
        began = time.monotonic()
        while time.monotonic() - began < PATIENCE:
            # A client that does not read notices a reset only by its state.
            if client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != ESTABLISHED:
                return time.monotonic() - began
            time.sleep(0.05)
    return float("inf")


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(GET % b"never", id="no response"),
        pytest.param(GET % b"large", id="response not read"),
        pytest.param(GET % b"" + GET % b"never", id="no second response"),
        pytest.param(GET % b"" + GET % b"large", id="second response not read"),
        pytest.param(GET % b"large" + GET % b"", id="pipelined behind an unread one"),
        pytest.param(GET % b"" + b"GET /", id="second head incomplete"),
    ],
)
def test_a_stalled_connection_is_closed(request_bytes):
    assert connection_seconds(lambda client: client.sendall(request_bytes)) < PATIENCE


def test_pipelined_requests_are_answered_in_order():
    def talk(client: socket.socket) -> None:
        client.sendall(GET % b"large" + GET % b"" + GET % b"")
        with client.makefile("rb") as stream:
            lengths = [_length(stream) for _ in range(3)]
        assert lengths == [LARGE, 2, 2]

    connection_seconds(talk)


def _length(stream: Any) -> int:
    length = 0
    while line := stream.readline().strip():
        if line.startswith(b"content-length"):
            length = int(line.partition(b": ")[2])
    return len(stream.read(length))
