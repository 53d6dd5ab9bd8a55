"""The socket of an ingress: HTTP straight into the replica, with a time limit per connection.

Why not Serve's proxy: it reads a body as fast as it arrives, however slow the replica is, keeps a
silent connection for ever, and costs a process and two hops per request. Its HAProxy mode listens
on every interface regardless of the configuration.
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


class HttpServer:
    """HTTP at one address, which several replicas on one machine share."""

    def __init__(self, app: ASGIApp, limits: ServiceLimits) -> None:
        class LimitedProtocol(TimedProtocol):
            header_seconds = limits.idle_seconds
            response_seconds = limits.request_seconds + limits.idle_seconds

        config = uvicorn.Config(
            app, http=LimitedProtocol, ws="none", lifespan="off", log_config=None, access_log=False,
            server_header=False, date_header=False, proxy_headers=False,
            timeout_keep_alive=int(limits.idle_seconds),
        )  # fmt: skip
        self.server = uvicorn.Server(config)

    def start(self, host: str, port: int) -> asyncio.Task[None]:
        """Listen; the task ends after `close`."""
        self.socket = bind_socket(host, port)
        return asyncio.create_task(self.server.serve(sockets=[self.socket]))

    def close(self) -> None:
        self.server.should_exit = True


class TimedProtocol(HttpToolsProtocol):
    """Ends a connection whose head does not arrive, or whose response is not read, in time.

    Body and processing have their own limits. The clock of a pipelined request starts when the
    previous one is answered.
    """

    header_seconds: float
    response_seconds: float
    timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._set_timer(self.header_seconds)

    def data_received(self, data: bytes) -> None:
        if self.timer is None:  # the next request of a kept connection
            self._set_timer(self.header_seconds)
        super().data_received(data)

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        if not self.pipeline:
            self._set_timer(self.response_seconds)

    def on_response_complete(self) -> None:
        is_pipelined = bool(self.pipeline)
        super().on_response_complete()
        if is_pipelined:
            self._set_timer(self.response_seconds)
        elif not self.transport.get_write_buffer_size():
            self._set_timer(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._set_timer(None)
        super().connection_lost(exc)

    def _set_timer(self, seconds: float | None) -> None:
        if self.timer is not None:
            self.timer.cancel()
        self.timer = None if seconds is None else self.loop.call_later(seconds, self._reset)

    def _reset(self) -> None:
        """Reset the connection: after a normal close the system keeps unread data for minutes."""
        connection = self.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


def bind_socket(host: str, port: int, *, shared: bool = True) -> socket.socket:
    """A listening socket, by default shared with other replicas; ServeError if it cannot listen."""
    try:
        address: Any = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # With its protocol: only where asyncio knows that it is TCP does it send without a delay.
        listening = socket.socket(*address[:3])
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shared))
        listening.bind(address[4])
        listening.listen(BACKLOG)
    except OSError as error:
        raise ServeError(
            f"cannot listen on {host}:{port} ({error.strerror or error}); choose another --port"
        ) from error
    return listening
