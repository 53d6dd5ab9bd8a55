"""Clients that violate HTTP, on bare sockets."""

import contextlib
import http.client
import socket
import struct
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

CLOSED = 0
"""In place of a status: the server closed the connection without a response."""


def connect(url: str) -> socket.socket:
    return socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), timeout=30)


def head(url: str, *headers: str, path: str = "/v1/clips") -> bytes:
    """The lines before the body of an upload."""
    lines = [f"POST {path} HTTP/1.1", f"Host: {urlsplit(url).netloc}", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def read_reply(client: socket.socket) -> tuple[int, bytes]:
    response = http.client.HTTPResponse(client)
    try:
        response.begin()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return CLOSED, b""


def send(url: str, request: bytes) -> tuple[int, bytes]:
    with connect(url) as client:
        with contextlib.suppress(OSError):  # the server replied early and closed
            client.sendall(request)
        return read_reply(client)


def malformed(url: str, *headers: str) -> Iterator[tuple[str, bytes]]:
    """Requests that contradict themselves, by name."""
    chunked, empty = "Transfer-Encoding: chunked", "Content-Length: 0"
    for length in ("-1", "99999999999999999999999999", "1e3", "0x10", "abc", "3, 4", " "):
        yield f"length {length}", head(url, *headers, f"Content-Length: {length}") + b"abc"
    for size in (b"-5", b"zz", b"ffffffffffffffffffff", b""):
        yield f"chunk of {size!r}", head(url, *headers, chunked) + size + b"\r\nabc\r\n0\r\n\r\n"
    heads = {
        "two lengths": (["Content-Length: 3", "Content-Length: 5"], b"abcde"),
        "length and chunks": (["Content-Length: 3", chunked], b"0\r\n\r\n"),
        "length too short": (["Content-Length: 3"], b"abc" + b"\xff" * 500),
        "other coding": (["Transfer-Encoding: gzip, chunked"], b"0\r\n\r\n"),
        "long header": (["X-A: " + "b" * 200_000], b""),
        "many headers": ([f"X-{n}: b" for n in range(5000)], b""),
        "null in header": (["X-A: \0", empty], b""),
    }
    for name, (lines, body) in heads.items():
        yield name, head(url, *headers, *lines) + body
    for path in ("/" + "a" * 100_000, "/../../../etc/passwd", "/v1/clips%00.png"):
        yield f"path {path[:20]}", head(url, *headers, empty, path=path)
    yield "no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc" * 20 + b"\r\n\r\n"


def break_off(url: str, *headers: str, reset: bool) -> None:
    """Announce a body, send a part, and disconnect, optionally with a reset."""
    with connect(url) as client:
        client.sendall(head(url, *headers, "Content-Length: 100000") + b"\0" * 5000)
        time.sleep(0.05)
        if reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def send_endless(url: str, *headers: str, limit: int) -> tuple[int, int]:
    """Send chunks up to `limit` bytes; the status, and how many bytes were taken."""
    piece = b"40000\r\n" + b"\0" * 2**18 + b"\r\n"
    with connect(url) as client:
        sent = 0
        try:
            client.sendall(head(url, *headers, "Transfer-Encoding: chunked"))
            while sent < limit:
                client.sendall(piece)
                sent += 2**18
        except OSError:
            pass
        return read_reply(client)[0], sent


def drip(url: str, *headers: str, seconds: float) -> tuple[int, float]:
    """Send a byte a second for at most so long; the status, and when it came."""
    start = time.monotonic()
    with connect(url) as client:
        client.sendall(head(url, *headers, "Content-Length: 100000"))
        client.settimeout(1.0)
        while time.monotonic() - start < seconds:
            try:
                client.sendall(b"\0")
                if client.recv(1, socket.MSG_PEEK):
                    return read_reply(client)[0], time.monotonic() - start
            except TimeoutError:
                continue
            except OSError:
                break
        return CLOSED, time.monotonic() - start
