"""The HTTP side of an ingress: routes, headers, the token, and errors of one line."""

import base64
import hashlib
import hmac
import ipaddress
import logging
import re
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import lus_ray
from lus_ray.inference import schema
from serve.errors import Refused

LOG = logging.getLogger("ray.serve")
PAGE = Path(__file__).with_name("page.html")
OPEN = ("/", "/healthz", "/readyz", "/openapi.json")
"""Paths that need no token: the page asks for it itself, and a probe has none."""

UPLOAD = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    },
    "parameters": [
        {"name": name, "in": "query", "description": text, "schema": {"type": "integer"}}
        for name, text in (
            ("preview", "1: with the frames as a small picture"),
            ("uncertainty", "1: with the spread of each class over samples of dropout"),
            ("allow_text", "1: accept DICOM whose pixels outside of the fan change"),
        )
    ],
}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": schema.Problem, "description": text}
    for status, text in (
        (400, "not a clip"),
        (401, "no token, or a wrong one"),
        (403, "the request comes from another site"),
        (408, "the body came too slowly"),
        (413, "too large"),
        (415, "not a type that is read here"),
        (422, "a clip that is refused for what it holds"),
        (429, "too many at once; see Retry-After"),
        (500, "the service failed"),
        (503, "not ready; see Retry-After"),
        (504, "took too long"),
    )
}

Handler = Callable[[Request], Awaitable[Response]]


def application(
    *, clips: Handler, models: Handler, ready: Handler, metrics: Handler,
    failed: Callable[[], None], token: str | None,
) -> ASGIApp:  # fmt: skip
    """The routes of the service around the handlers of an ingress; `failed` is told of failures."""
    app = FastAPI(
        title="Lung ultrasound", version=lus_ray.__version__, docs_url=None, redoc_url=None,
        description="What trained models say of a clip. For research only; not a medical device.",
    )  # fmt: skip
    page, policy = _page()

    async def health(request: Request) -> Response:
        return PlainTextResponse("alive\n")

    async def front(request: Request) -> Response:
        if page is None:
            return PlainTextResponse("no page in this installation\n", status_code=404)
        return Response(page, media_type="text/html; charset=utf-8", headers=policy)

    app.add_api_route(
        "/v1/clips", clips, methods=["POST"], response_model=schema.Answer, responses=PROBLEMS,
        openapi_extra=UPLOAD, summary="What the models say of a clip",
    )  # fmt: skip
    app.add_api_route("/v1/models", models, response_model=schema.Models, summary="What is served")
    app.add_api_route("/healthz", health, summary="Alive")
    app.add_api_route("/readyz", ready, summary="Every part has answered")
    app.add_api_route("/metrics", metrics, summary="Counts and times for Prometheus")
    app.add_route("/", front)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _failed)
    return Guard(app, failed, token)


class Guard:
    """Around every request: who may ask, headers that load nothing from elsewhere, no traces."""

    def __init__(self, app: ASGIApp, failed: Callable[[], None], token: str | None) -> None:
        self.app, self.failed, self.token = app, failed, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        send_always = with_headers(send)
        try:
            self._admit(Request(scope))
            await self.app(scope, receive, send_always)
        except Refused as refused:
            await problem(refused)(scope, receive, send_always)
        except Exception as error:  # it was answered; what it says may name a file or a patient
            LOG.error("a request failed: %s at %s", type(error).__name__, _place(error))
            self.failed()

    def _admit(self, request: Request) -> None:
        """Let a request in.

        Raises:
            Refused: it comes from a page of another site (403), or without the token (401).
        """
        origin = request.headers.get("origin")
        host = request.headers.get("host", "")
        if origin is not None and _site(origin) != host:
            raise Refused(403, "requests from other sites are not answered", closes=True)
        if self.token is None and not _is_local(host):
            raise Refused(403, "without a token only this machine's own names are answered")
        if self.token is not None and request.scope["path"] not in OPEN:
            given = request.headers.get("authorization", "").encode()
            if not hmac.compare_digest(given, b"Bearer " + self.token.encode()):
                raise Refused(401, "send the token: Authorization: Bearer ...", closes=True)


def problem(refused: Refused) -> Response:
    """The answer to a request that is not served."""
    return JSONResponse({"error": refused.text}, refused.status, headers=refused.headers())


async def _http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    text = {404: "there is nothing here", 405: "not with this method"}.get(status, "bad request")
    return JSONResponse({"error": text}, status)


async def _failed(request: Request, error: Exception) -> Response:
    return problem(Refused(500, "the service failed on this request"))


def _place(error: Exception) -> str:
    """The innermost lines of code that an error came through, the last one first."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    return " < ".join(f"{Path(one.filename).name}:{one.lineno}" for one in reversed(frames))


def with_headers(send: Send) -> Send:
    """Sends with the headers that every answer has, save those that this one brings."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *_always(message["headers"])]
        await send(message)

    return sending


def _always(given: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    headers = {
        b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
        b"x-content-type-options": b"nosniff",
        b"referrer-policy": b"no-referrer",
        b"cache-control": b"no-store",
        b"cross-origin-resource-policy": b"same-origin",
    }
    names = {name.lower() for name, _ in given}
    return [(name, value) for name, value in headers.items() if name not in names]


def _is_local(host: str) -> bool:
    """Whether a Host header names this machine; a page elsewhere may point its name here."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _site(origin: str) -> str | None:
    """Host and port of an Origin header; None where it is none."""
    try:
        return urlsplit(origin).netloc or None
    except ValueError:
        return None


def _page() -> tuple[bytes | None, dict[str, str]]:
    """The page, and a policy that lets exactly its own style and script run."""
    if not PAGE.is_file():
        return None, {}
    page = PAGE.read_bytes()
    hashes = {
        tag: " ".join(
            f"'sha256-{base64.b64encode(hashlib.sha256(inside).digest()).decode()}'"
            for inside in re.findall(rb"<%s>(.*?)</%s>" % (tag.encode(), tag.encode()), page, re.S)
        )
        for tag in ("style", "script")
    }
    policy = (
        f"default-src 'none'; style-src {hashes['style']}; script-src {hashes['script']}; "
        "img-src data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    return page, {"Content-Security-Policy": policy}
