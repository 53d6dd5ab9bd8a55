"""Every connection is on a clock: from its head to the last byte of the answer that is read."""

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from lus_ray.inference.limits import ServiceLimits
from serve.http_server import Listener

pytestmark = pytest.mark.slow
SECONDS = 1.0
LIMITS = ServiceLimits(idle_seconds=SECONDS, request_seconds=SECONDS / 2)
PATIENCE = 4 * SECONDS
LARGE = 32 * 2**20
"""Bytes of an answer that no buffer of the system takes in whole."""
ESTABLISHED = 1
GET = b"GET /%s HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answers at once: `/large` with much, `/never` not at all, others with a word."""
    while scope["path"] == "/never" and (await receive())["type"] != "http.disconnect":
        pass
    body = b"\0" * (LARGE if scope["path"] == "/large" else 2)
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": body})


def held_for(talk: Callable[[socket.socket], None]) -> float:
    """Seconds that the server keeps a connection after a client said something."""

    async def listening() -> float:
        listener = Listener(application, LIMITS)
        serving = listener.listen("127.0.0.1", 0)
        address = listener.socket.getsockname()
        seconds = await asyncio.to_thread(_seconds, address, talk)
        listener.close()
        await serving
        return seconds

    return asyncio.run(listening())


def _seconds(address: Any, talk: Callable[[socket.socket], None]) -> float:
    with socket.create_connection(address, timeout=PATIENCE) as client:
        talk(client)
        began = time.monotonic()
        while time.monotonic() - began < PATIENCE:
            # A client that does not read learns of a reset by its state alone.
            if client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != ESTABLISHED:
                return time.monotonic() - began
            time.sleep(0.05)
    return float("inf")


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(GET % b"never", id="no answer comes"),
        pytest.param(GET % b"large", id="the answer is not read"),
        pytest.param(GET % b"" + GET % b"never", id="no second answer comes"),
        pytest.param(GET % b"" + GET % b"large", id="the second answer is not read"),
        pytest.param(GET % b"large" + GET % b"", id="what is asked behind it neither"),
        pytest.param(GET % b"" + b"GET /", id="a second head does not end"),
    ],
)
def test_a_connection_is_given_up_whatever_is_not_read_or_said(said):
    assert held_for(lambda client: client.sendall(said)) < 3 * SECONDS


def test_answers_to_requests_behind_one_another_come_in_their_order():
    def talk(client: socket.socket) -> None:
        client.sendall(GET % b"large" + GET % b"" + GET % b"")
        with client.makefile("rb") as stream:
            lengths = [_length(stream) for _ in range(3)]
        assert lengths == [LARGE, 2, 2]

    held_for(talk)


def _length(stream: Any) -> int:
    length = 0
    while line := stream.readline().strip():
        if line.startswith(b"content-length"):
            length = int(line.partition(b": ")[2])
    return len(stream.read(length))
