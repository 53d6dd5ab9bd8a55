"""The web page of `lus watch`, with its data as JSON and for Prometheus.

Why the Host header is checked: a foreign page can point its own name at this machine and then
read what the browser fetches from that name; it cannot do so with an IP address.
"""

import base64
import hashlib
import ipaddress
import json
import re
import socket
import threading
from collections.abc import Awaitable, Callable
from functools import lru_cache
from importlib.resources import files

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from lus_ray.errors import InputError, LusError
from lus_ray.monitoring import prometheus
from lus_ray.monitoring.run_state import RunReader
from lus_ray.monitoring.states import CLOCK_FIELDS

STRICT_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
REPORT_POLICY = (
    f"{STRICT_POLICY}; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "sandbox allow-scripts"
)
SAFE_HEADERS = {
    "Content-Security-Policy": STRICT_POLICY,
    "Cache-Control": "no-cache",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Vary": "Accept-Encoding",
}
SHUTDOWN_TIMEOUT_S = 2


class PageServer:
    """Serves a run folder from a thread; InputError if it cannot listen on the host and port."""

    def __init__(self, reader: RunReader, *, host: str, port: int) -> None:
        self.host = host
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self.socket = socket.create_server((host, port), family=family)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"cannot listen on {host}:{port} ({reason}); try --port 0") from error
        self.port: int = self.socket.getsockname()[1]
        names = {"localhost", host.lower(), socket.gethostname().lower()}
        config = uvicorn.Config(
            create_app(reader, names), log_config=None, access_log=False, lifespan="off", ws="none",
            server_header=False, timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_S,
        )  # fmt: skip
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(
            target=self.server.run, args=([self.socket],), name="lus-watch-page", daemon=True
        )

    @property
    def url(self) -> str:
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}/"

    def close(self) -> None:
        self.server.should_exit = True
        self.thread.join(2 * SHUTDOWN_TIMEOUT_S)
        self.socket.close()

    def __enter__(self) -> "PageServer":
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def create_app(reader: RunReader, names: set[str]) -> Starlette:
    """The application for a run, for requests to an IP address or one of the host `names`."""

    def get_page(request: Request) -> Response:
        text, policy = load_page()
        headers = {"Content-Security-Policy": policy}
        return Response(text, media_type="text/html", headers=headers)

    def get_grid(request: Request) -> Response:
        contents = reader.read().contents()
        clock = json.dumps({name: contents.pop(name) for name in CLOCK_FIELDS})
        text = json.dumps(contents, separators=(",", ":"))
        headers = {"ETag": f'W/"{hashlib.sha256(text.encode()).hexdigest()[:24]}"'}
        if request.headers.get("If-None-Match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        body = f"{text[:-1]},{clock[1:]}"
        return Response(body, media_type="application/json", headers=headers)

    def get_metrics(request: Request) -> Response:
        body = prometheus.format_metrics(reader.read())
        return Response(body, headers={"Content-Type": prometheus.CONTENT_TYPE})

    def get_report(request: Request) -> Response:
        path = reader.out / "report.html"
        if not path.is_file():
            return not_found(request)
        headers = {"Content-Security-Policy": REPORT_POLICY}
        return Response(path.read_bytes(), media_type="text/html", headers=headers)

    def not_found(request: Request, error: Exception | None = None) -> Response:
        return PlainTextResponse("Not found; the page is at /\n", status_code=404)

    def unavailable(request: Request, error: Exception) -> Response:
        return PlainTextResponse(f"{error}\n", status_code=503)

    async def secure(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        if is_known_host(request.headers.get("Host", ""), names):
            response = await call_next(request)
        else:
            response = PlainTextResponse("This host name is not served.\n", status_code=421)
        for name, value in SAFE_HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    return Starlette(
        routes=[
            Route("/", get_page),
            Route("/grid.json", get_grid),
            Route("/metrics", get_metrics),
            Route("/report.html", get_report),
        ],
        middleware=[
            Middleware(GZipMiddleware, minimum_size=1000, compresslevel=1),
            Middleware(BaseHTTPMiddleware, dispatch=secure),
        ],
        exception_handlers={404: not_found, LusError: unavailable},
    )


@lru_cache(maxsize=1)
def load_page() -> tuple[bytes, str]:
    """The page, and the content security policy that allows only its own style and script."""
    text = files("lus_ray.monitoring").joinpath("page.html").read_text(encoding="utf-8")
    style, script = (_hash(text, tag) for tag in ("style", "script"))
    policy = (
        f"{STRICT_POLICY}; style-src {style}; script-src {script}; connect-src 'self'; "
        "img-src data:"
    )
    return text.encode(), policy


def is_known_host(header: str, names: set[str]) -> bool:
    """Whether a Host header has an IP address or one of these names."""
    name = re.sub(r":\d+$", "", header.strip()).strip("[]").lower()
    try:
        return name in names or bool(ipaddress.ip_address(name))
    except ValueError:
        return False


def _hash(text: str, tag: str) -> str:
    match = re.search(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    assert match is not None
    digest = hashlib.sha256(match.group(1).encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
