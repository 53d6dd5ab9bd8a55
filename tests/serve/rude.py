"""Clients that do not keep to HTTP, on bare sockets."""

import http.client
import itertools
import socket
import struct
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

GONE = 0
"""In place of a status: the server closed the connection without one."""


def connected(url: str) -> socket.socket:
    """A socket to the server."""
    return socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), timeout=30)


def head(url: str, *headers: str, path: str = "/v1/clips") -> bytes:
    """The lines before the body of an upload, with further headers."""
    lines = [f"POST {path} HTTP/1.1", f"Host: {urlsplit(url).netloc}", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def answer(client: socket.socket) -> tuple[int, bytes]:
    """Status and body of what comes back."""
    response = http.client.HTTPResponse(client)
    try:
        response.begin()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return GONE, b""


def send(url: str, *pieces: bytes) -> tuple[int, bytes]:
    """What comes back for these bytes."""
    with connected(url) as client:
        try:
            for piece in pieces:
                client.sendall(piece)
        except OSError:  # it answered before all was sent, and closed
            pass
        return answer(client)


def lies(url: str, *headers: str) -> Iterator[tuple[str, bytes]]:
    """Requests whose lines contradict what follows, by name."""
    for length in ("-1", "99999999999999999999999999", "1e3", "0x10", "abc", "3, 4", " "):
        yield f"length {length}", head(url, *headers, f"Content-Length: {length}") + b"abc"
    both = ("Content-Length: 3", "Transfer-Encoding: chunked")
    yield "two lengths", head(url, *headers, "Content-Length: 3", "Content-Length: 5") + b"abcde"
    yield "length and chunks", head(url, *headers, *both) + b"0\r\n\r\n"
    yield "length too short", head(url, *headers, "Content-Length: 3") + b"abc" + b"\xff" * 500
    for size in (b"-5", b"zz", b"ffffffffffffffffffff", b""):
        chunk = size + b"\r\nabc\r\n0\r\n\r\n"
        yield f"chunk of {size!r}", head(url, *headers, "Transfer-Encoding: chunked") + chunk
    yield "other coding", head(url, *headers, "Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n"
    yield "long header", head(url, *headers, "X-A: " + "b" * 200_000)
    yield "many headers", head(url, *headers, *[f"X-{n}: b" for n in range(5000)])
    yield "long path", head(url, *headers, "Content-Length: 0", path="/" + "a" * 100_000)
    yield "path upwards", head(url, *headers, "Content-Length: 0", path="/../../../etc/passwd")
    yield "null in path", head(url, *headers, "Content-Length: 0", path="/v1/clips%00.png")
    yield "no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc" * 20 + b"\r\n\r\n"
    yield "null in header", head(url, *headers, "X-A: \0", "Content-Length: 0")


def break_off(url: str, *headers: str, reset: bool) -> None:
    """Promise a body, send a part, and go; with `reset` without a farewell."""
    with connected(url) as client:
        client.sendall(head(url, *headers, "Content-Length: 100000") + b"\0" * 5000)
        time.sleep(0.05)
        if reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def endless(url: str, *headers: str, most: int) -> tuple[int, int]:
    """Chunks without end, up to `most` bytes: the status, and how many were taken."""
    piece = b"40000\r\n" + b"\0" * 2**18 + b"\r\n"
    with connected(url) as client:
        sent = 0
        try:
            client.sendall(head(url, *headers, "Transfer-Encoding: chunked"))
            while sent < most:
                client.sendall(piece)
                sent += 2**18
        except OSError:
            pass
        return answer(client)[0], sent


def drip(url: str, *headers: str, seconds: float) -> tuple[int, float]:
    """One byte a second, at most so long: the status, and when it came."""
    began = time.monotonic()
    with connected(url) as client:
        client.sendall(head(url, *headers, "Content-Length: 100000"))
        client.settimeout(1.0)
        for _ in itertools.count():
            if time.monotonic() - began > seconds:
                return GONE, time.monotonic() - began
            try:
                client.sendall(b"\0")
                if client.recv(1, socket.MSG_PEEK):
                    break
            except TimeoutError:
                continue
            except OSError:
                return GONE, time.monotonic() - began
        return answer(client)[0], time.monotonic() - began
