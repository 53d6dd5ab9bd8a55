"""Every connection has a time limit, from its head to the last byte of the response."""

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from lus_ray.inference.limits import ServiceLimits
from serve.http_server import HttpServer

LIMITS = ServiceLimits(idle_seconds=2, request_seconds=10)
HEAD, RESPONSE = 2, 12
"""Seconds for a head, and for a response together with reading it."""
LARGE = 32 * 2**20
"""Bytes of a response that no system buffer holds completely."""
ESTABLISHED = 1
GET = b"GET /%s HTTP/1.1\r\nHost: localhost\r\n\r\n"


class ManualClockLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock moves only when it is set, however slow the machine is."""

    now = 0.0

    def time(self) -> float:
        return self.now


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Responds at once: `/large` with much, `/never` not at all, others briefly."""
    while scope["path"] == "/never" and (await receive())["type"] != "http.disconnect":
        pass
    body = b"\0" * (LARGE if scope["path"] == "/large" else 2)
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": body})


def use_server(talk: Callable[[Any, ManualClockLoop], Any]) -> Any:
    """The result of `talk` with the address of a server and the loop that it runs in."""

    async def use() -> Any:
        loop: Any = asyncio.get_running_loop()
        server = HttpServer(application, LIMITS)
        serving = server.start("127.0.0.1", 0)
        result = await talk(server.socket.getsockname(), loop)
        server.close()
        while not serving.done():
            await asyncio.sleep(0)
            loop.now += 0.1
        return result

    with asyncio.Runner(loop_factory=ManualClockLoop) as runner:
        return runner.run(use())


@pytest.mark.parametrize(
    ("request_bytes", "limit"),
    [
        pytest.param(b"", HEAD, id="silent"),
        pytest.param(b"POST /v1/cl", HEAD, id="head incomplete"),
        pytest.param(GET % b"never", RESPONSE, id="no response"),
        pytest.param(GET % b"large", RESPONSE, id="response not read"),
        pytest.param(GET % b"" + GET % b"never", RESPONSE, id="no second response"),
        pytest.param(GET % b"" + GET % b"large", RESPONSE, id="second response not read"),
        pytest.param(GET % b"large" + GET % b"", RESPONSE, id="pipelined behind an unread one"),
        pytest.param(GET % b"" + b"GET /", HEAD, id="second head incomplete"),
    ],
)
def test_a_stalled_connection_is_closed_exactly_at_its_limit(request_bytes, limit):
    async def is_open(client: socket.socket) -> bool:
        for _ in range(50):  # the server works on what it received
            await asyncio.sleep(0)
            time.sleep(0.001)
        # A client that does not read notices a reset only by its state.
        return client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == ESTABLISHED

    async def talk(address: Any, loop: ManualClockLoop) -> list[bool]:
        with socket.create_connection(address) as client:
            client.sendall(request_bytes)
            states = [await is_open(client)]
            for loop.now in (limit - 0.01, limit + 0.01):
                states.append(await is_open(client))
        return states

    assert use_server(talk) == [True, True, False]


def test_pipelined_requests_are_answered_in_order():
    def read(address: Any) -> list[int]:
        with socket.create_connection(address) as client, client.makefile("rb") as stream:
            client.sendall(GET % b"large" + GET % b"" + GET % b"")
            return [_length(stream) for _ in range(3)]

    lengths = use_server(lambda address, loop: asyncio.to_thread(read, address))
    assert lengths == [LARGE, 2, 2]


def _length(stream: Any) -> int:
    length = 0
    while line := stream.readline().strip():
        if line.startswith(b"content-length"):
            length = int(line.partition(b": ")[2])
    return len(stream.read(length))


def test_small_packets_are_sent_without_a_delay():
    """A client that keeps its connection would wait 40 ms for the body of each response."""

    async def talk(address: Any, loop: ManualClockLoop) -> int:
        connected = asyncio.Event()
        made = HttpToolsProtocol.connection_made

        def connection_made(protocol: Any, transport: Any) -> None:
            made(protocol, transport)
            sent.append(transport.get_extra_info("socket"))
            connected.set()

        sent: list[socket.socket] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(HttpToolsProtocol, "connection_made", connection_made)
            with socket.create_connection(address):
                await connected.wait()
                return sent[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    assert use_server(talk) == 1
