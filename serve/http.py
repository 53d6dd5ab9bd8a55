"""HTTP routes of an ingress: security headers, the token, and errors of one line."""

import asyncio
import hmac
import ipaddress
import logging
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import lus_ray
from lus_ray.inference import schema
from lus_ray.inference.example_clip import make_example
from serve.errors import RequestError
from serve.page.inline import page_policy, read_page

LOG = logging.getLogger("ray.serve")
PUBLIC_PATHS = ("/", "/healthz", "/readyz", "/openapi.json")
"""Need no token: the page asks for it itself, and a probe has none."""

BINARY = {"type": "string", "format": "binary"}
OPENAPI_UPLOAD = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {"type": "object", "required": ["file"], "properties": {"file": BINARY}}
            },
            "application/octet-stream": {"schema": BINARY},
        },
    },
    "parameters": [
        {"name": name, "in": "query", "description": text, "schema": {"type": "integer"}}
        for name, text in (
            ("preview", "1: include a small picture of the frames"),
            ("uncertainty", "1: include the standard deviation of each class over dropout samples"),
            ("attention", "1: include maps of where the network found its evidence"),
            ("allow_text", "1: accept DICOM whose pixels outside of the fan change"),
        )
    ],
}
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": schema.ErrorMessage, "description": text}
    for status, text in {
        400: "not a clip",
        401: "token missing or wrong",
        403: "request from another site",
        408: "body too slow",
        413: "too large",
        415: "media type not accepted",
        422: "clip rejected for its content",
        429: "too many requests; see Retry-After",
        500: "internal error",
        503: "not ready; see Retry-After",
        504: "took too long",
    }.items()
}
SECURITY_HEADERS = {
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cache-control": b"no-store",
    b"cross-origin-resource-policy": b"same-origin",
}

Endpoint = Callable[[Request], Awaitable[Response]]


def build_http_app(
    *, clips: Endpoint, models: Endpoint, ready: Endpoint, metrics: Endpoint,
    count_failure: Callable[[], None], token: str | None,
) -> ASGIApp:  # fmt: skip
    """The routes of the service around the endpoints of an ingress."""
    app = FastAPI(
        title="Lung ultrasound", version=lus_ray.__version__, docs_url=None, redoc_url=None,
        description="Predictions of trained models. For research only; not a medical device.",
    )  # fmt: skip
    page = read_page()
    policy = {"Content-Security-Policy": page_policy(page)}

    async def health(request: Request) -> Response:
        return PlainTextResponse("alive\n")

    async def example(request: Request) -> Response:
        content = await asyncio.to_thread(make_example)
        name = {"Content-Disposition": 'inline; filename="phantom.png"'}
        return Response(content, media_type="image/png", headers=name)

    async def front(request: Request) -> Response:
        return Response(page, media_type="text/html; charset=utf-8", headers=policy)

    app.add_route("/v1/clips", clips, methods=["POST"])  # itself, as FastAPI's own takes longer
    app.add_api_route(
        "/v1/clips", clips, methods=["POST"], response_model=schema.ClipResponse, responses=ERRORS,
        openapi_extra=OPENAPI_UPLOAD, summary="Predictions for a clip",
    )  # fmt: skip
    app.add_api_route(
        "/v1/models", models, response_model=schema.ServedModels, summary="Served models"
    )
    app.add_api_route(
        "/v1/example", example, summary="A synthetic clip to try, as an animated PNG",
        response_class=Response, responses={200: {"content": {"image/png": {"schema": BINARY}}}},
    )  # fmt: skip
    app.add_api_route("/healthz", health, summary="Liveness")
    app.add_api_route("/readyz", ready, summary="Readiness")
    app.add_api_route("/metrics", metrics, summary="Prometheus metrics")
    app.add_route("/", front)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(Exception, _on_failure)
    return SecurityMiddleware(app, count_failure, token)


class SecurityMiddleware:
    """Checks token and origin, adds security headers, and logs failures without their text."""

    def __init__(self, app: ASGIApp, count_failure: Callable[[], None], token: str | None) -> None:
        self.app, self.count_failure, self.token = app, count_failure, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        send = _with_security_headers(send)
        try:
            self._authorize(Request(scope))
            await self.app(scope, receive, send)
        except RequestError as error:
            await error.response()(scope, receive, send)
        except Exception as error:  # already answered; its text may name a file or a patient
            LOG.error("a request failed: %s at %s", type(error).__name__, _locate(error))
            self.count_failure()

    def _authorize(self, request: Request) -> None:
        origin, host = request.headers.get("origin"), request.headers.get("host", "")
        if origin is not None and (_split(origin).netloc or None) != host:
            raise RequestError(
                403,
                "pages of other sites may not send requests; open the page of this service",
                close=True,
            )
        if self.token is None and not is_loopback(_split(f"//{host}").hostname or ""):
            raise RequestError(403, "without a token, open the service as http://127.0.0.1")
        if self.token is not None and request.scope["path"] not in PUBLIC_PATHS:
            authorization = request.headers.get("authorization", "").encode()
            if not hmac.compare_digest(authorization, b"Bearer " + self.token.encode()):
                raise RequestError(
                    401,
                    "the token is missing or wrong; send the header Authorization: Bearer TOKEN",
                    close=True,
                )


async def _on_http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    remedy = "the routes are listed at /openapi.json"
    text = {
        404: f"there is nothing at this address; {remedy}",
        405: f"this address does not take {request.method} requests; {remedy}",
    }.get(status, f"the request is malformed; {remedy}")
    return JSONResponse({"error": text}, status)


async def _on_failure(request: Request, error: Exception) -> Response:
    return RequestError(
        500, "the service failed on this clip; try again, or send another one"
    ).response()


def _locate(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    return " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))


def _with_security_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            names = {name.lower() for name, _ in message["headers"]}
            extra = [item for item in SECURITY_HEADERS.items() if item[0] not in names]
            message["headers"] = [*message["headers"], *extra]
        await send(message)

    return send_with_headers


def is_loopback(host: str) -> bool:
    """Whether a name or address without a port is a loopback one of this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _split(url: str) -> SplitResult:
    """The parts of a URL, all empty where it is malformed."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")
