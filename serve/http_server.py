"""The socket of an ingress: HTTP straight into the replica, and every connection on a clock.

Why not the proxy that Serve starts: it reads a body as fast as it comes, however slow the replica
is, keeps a silent connection for ever, and costs a process and two hops for every request. Its
HAProxy mode listens on every interface whatever it is told.
"""

import asyncio
import socket
import struct
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from lus_ray.errors import ServeError
from lus_ray.inference.limits import ServiceLimits

BACKLOG = 512


class Listener:
    """HTTP on one address; several replicas on one machine share it."""

    def __init__(self, app: ASGIApp, limits: ServiceLimits) -> None:
        class Timed(TimedProtocol):
            header_seconds = limits.idle_seconds
            answer_seconds = limits.request_seconds + limits.idle_seconds

        config = uvicorn.Config(
            app, http=Timed, ws="none", lifespan="off", log_config=None, access_log=False,
            server_header=False, date_header=False, timeout_keep_alive=int(limits.idle_seconds),
        )  # fmt: skip
        self.server = uvicorn.Server(config)

    def listen(self, host: str, port: int) -> asyncio.Task[None]:
        """Listen from now on; the task ends after `close`.

        Raises:
            ServeError: the address is not of this machine, or another program listens there.
        """
        self.socket = bound(host, port)
        return asyncio.create_task(self.server.serve(sockets=[self.socket]))

    def close(self) -> None:
        """Take no more connections, and end those that wait."""
        self.server.should_exit = True


class TimedProtocol(HttpToolsProtocol):
    """Ends a connection whose head does not come, or whose answer is not read, in time.

    What is between head and answer is timed where the body is read and the clip is answered.
    A request that came behind another one is timed from when that was answered.
    """

    header_seconds: float
    answer_seconds: float
    clock: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wind(self.header_seconds)

    def data_received(self, data: bytes) -> None:
        if self.clock is None:  # the next request of a connection that is kept
            self._wind(self.header_seconds)
        super().data_received(data)

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        if not self.pipeline:
            self._wind(self.answer_seconds)

    def on_response_complete(self) -> None:
        next_begins = bool(self.pipeline)
        super().on_response_complete()
        if next_begins:
            self._wind(self.answer_seconds)
        elif not self.transport.get_write_buffer_size():
            self._wind(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._wind(None)
        super().connection_lost(exc)

    def _wind(self, seconds: float | None) -> None:
        if self.clock is not None:
            self.clock.cancel()
        self.clock = None if seconds is None else self.loop.call_later(seconds, self._end)

    def _end(self) -> None:
        """Reset it: after a farewell the system would keep what is not read for minutes."""
        ours = self.transport.get_extra_info("socket")
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


def bound(host: str, port: int, *, shared: bool = True) -> socket.socket:
    """A socket that listens; `shared` with other replicas on this machine.

    Raises:
        ServeError: the address is not of this machine, or another program listens there.
    """
    try:
        found: Any = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(found[0], found[1])
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shared))
        listening.bind(found[4])
        listening.listen(BACKLOG)
    except OSError as error:
        raise ServeError(
            f"cannot listen on {host}:{port} ({error.strerror or error}); choose another --port"
        ) from error
    return listening
