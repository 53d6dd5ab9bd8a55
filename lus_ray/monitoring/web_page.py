"""A small server for one page: the grid in a browser, its figures as JSON and for Prometheus.

    /            the page, which holds all that it needs
    /grid.json   the grid; an ETag spares what did not change
    /metrics     the figures as Prometheus text
    /report.html the report of the run, once there is one

Why Host is checked: a page of a stranger can point its own name at this machine and then read
what the browser fetches from it; an address in figures cannot be turned so.
"""

import base64
import gzip
import hashlib
import ipaddress
import json
import re
import socket
import threading
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files

from lus_ray.errors import InputError, LusError
from lus_ray.monitoring import prometheus
from lus_ray.monitoring.run_state import RunReader
from lus_ray.monitoring.states import PASSING

NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
REPORT = f"{NOTHING}; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; sandbox allow-scripts"  # noqa: E501


class PageServer(ThreadingHTTPServer):
    """Serves the page of a run folder from a thread of its own; a context manager.

    Raises:
        InputError: the port is taken, or the host is not of this machine.
    """

    daemon_threads = True

    def __init__(self, reader: RunReader, *, host: str, port: int) -> None:
        self.reader, self.named = reader, host
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"cannot listen on {host}:{port} ({reason}); try --port 0") from error

    @property
    def url(self) -> str:
        """Where a browser finds it."""
        shown = f"[{self.named}]" if ":" in self.named else self.named
        return f"http://{shown}:{self.server_address[1]}/"

    def __enter__(self) -> "PageServer":
        threading.Thread(target=self.serve_forever, name="lus-watch-page", daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        self.server_close()

    def knows(self, host: str) -> bool:
        """Whether a request meant this server: by an address, or by one of its own names."""
        name = re.sub(r":\d+$", "", host.strip()).strip("[]").lower()
        own = {"localhost", self.named.lower(), socket.gethostname().lower()}
        return name in own or _is_address(name)

    def handle_error(self, request: object, client_address: object) -> None:
        """A reader that goes away in the middle is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    protocol_version = "HTTP/1.0"  # a connection a request: none outlives the server
    server_version, sys_version = "lus", ""
    timeout = 30

    def do_GET(self) -> None:
        """Answer one of the four addresses."""
        if not self.server.knows(self.headers.get("Host", "")):
            return self._send(421, b"This server does not go by that name.\n")
        try:
            return self._answer(self.path.partition("?")[0])
        except LusError as error:
            return self._send(503, f"{error}\n".encode())

    do_HEAD = do_GET

    def _answer(self, path: str) -> None:
        if path == "/":
            text, policy = page()
            return self._send(200, text, "text/html; charset=utf-8", policy=policy)
        if path == "/grid.json":
            return self._grid()
        if path == "/metrics":
            figures = prometheus.text(self.server.reader.read()).encode()
            return self._send(200, figures, prometheus.TYPE)
        if path == "/report.html" and (report := self.server.reader.out / path[1:]).is_file():
            return self._send(200, report.read_bytes(), "text/html; charset=utf-8", policy=REPORT)
        return self._send(404, b"There is nothing here; the page is at /\n")

    def _grid(self) -> None:
        """The grid; what only the clock changes is no part of its tag."""
        contents = self.server.reader.read().contents()
        passing = json.dumps({name: contents.pop(name) for name in PASSING})
        text = json.dumps(contents, separators=(",", ":"))
        tag = f'W/"{hashlib.sha256(text.encode()).hexdigest()[:24]}"'
        if self.headers.get("If-None-Match") == tag:
            return self._send(304, b"", tag=tag)
        body = f"{text[:-1]},{passing[1:]}".encode()
        return self._send(200, body, "application/json", tag=tag)

    def _send(
        self, status: int, body: bytes, kind: str = "text/plain; charset=utf-8", *,
        policy: str = NOTHING, tag: str | None = None,
    ) -> None:  # fmt: skip
        self.send_response(status)
        if "gzip" in self.headers.get("Accept-Encoding", "") and len(body) > 1000:
            body = gzip.compress(body, compresslevel=1)
            self.send_header("Content-Encoding", "gzip")
        if status != 304:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
        if tag:
            self.send_header("ETag", tag)
        for name, value in (
            ("Content-Security-Policy", policy), ("Cache-Control", "no-cache"),
            ("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "no-referrer"),
            ("Cross-Origin-Resource-Policy", "same-origin"), ("Vary", "Accept-Encoding"),
        ):  # fmt: skip
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD" and status != 304:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the terminal shows the grid."""


@lru_cache(maxsize=1)
def page() -> tuple[bytes, str]:
    """The page, and the policy that lets its own style and script run and nothing else."""
    text = files("lus_ray.monitoring").joinpath("page.html").read_text(encoding="utf-8")
    style, script = (_hash(text, tag) for tag in ("style", "script"))
    policy = f"{NOTHING}; style-src {style}; script-src {script}; connect-src 'self'; img-src data:"
    return text.encode(), policy


def _hash(text: str, tag: str) -> str:
    found = re.search(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    assert found is not None
    digest = hashlib.sha256(found.group(1).encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
