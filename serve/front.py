"""What stands in Ray's HTTP proxy before the ingress: its own errors in the service's words.

Why: where an ingress dies under a request, the proxy says 500 and no more, while the request could
simply be made again. Ray finds this by the environment, see `ENVIRONMENT`.
"""

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lus_ray.service.limits import ServiceLimits
from serve.http import problem, with_headers
from serve.refused import Refused

ENVIRONMENT = {"RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serve.front:middlewares"}
"""To be set where Ray is started."""

OURS = b"content-security-policy"
"""A header of every answer of the ingress, and of none of the proxy."""
AGAIN_SECONDS = 1
MOST_BYTES = ServiceLimits().body_bytes + 2**20
"""Of a body, whatever the ingress allows: the proxy would take in what comes faster than that."""
WORDS = {
    404: "there is nothing here",
    408: "the clip took too long; send a shorter one",
    429: "too many clips at once",
}
STATUSES = {404: 404, 408: 504, 429: 429}
"""The service's status for one of the proxy; every other means that the ingress is not there."""


def middlewares() -> list[Middleware]:
    """What Ray puts around its proxy."""
    return [Middleware(Front)]


class Front:
    """Passes the answers of the ingress on and replaces those of the proxy."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status, is_passed, num_bytes = 0, False, 0

        async def counted() -> Message:
            nonlocal num_bytes
            message = await receive()
            num_bytes += len(message.get("body", b""))
            return message if num_bytes <= MOST_BYTES else {"type": "http.disconnect"}

        async def passed(message: Message) -> None:
            nonlocal status, is_passed
            if message["type"] == "http.response.start":
                status = message["status"]
                names = {name.lower() for name, _ in message.get("headers", ())}
                is_passed = status < 300 or OURS in names
            if is_passed:
                await send(message)

        await self.app(scope, counted, passed)
        if not is_passed:
            is_large = num_bytes > MOST_BYTES
            refused = Refused(413, "the clip is too large", closes=True) if is_large else of(status)
            await problem(refused)(scope, receive, with_headers(send))


def of(status: int) -> Refused:
    """The service's words for a status of the proxy; 0 is none at all."""
    words = WORDS.get(status, "a part of the service starts anew")
    again = None if status in (404, 408) else AGAIN_SECONDS
    return Refused(STATUSES.get(status, 503), words, again, closes=True)
