"""Requests predictions from a server: `lus predict --url`.

Why it retries: a request changes nothing on the server, so a busy or restarting one can be asked
again after its Retry-After.
"""

import json
import ssl
import time
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from pydantic import ValidationError

from lus_ray.errors import InputError, LusError
from lus_ray.inference.schema import CLIP_RESPONSE, ClipResponse
from lus_ray.loopback import open_url, proxy_of

RETRY_STATUSES = (429, 503)
CONNECTION_LOST = (ConnectionResetError, BrokenPipeError)
NUM_ATTEMPTS = 6
TIMEOUT_S = 120.0
MAX_WAIT_S = 30.0


def request_prediction(
    url: str, file: Path, *, token: str | None = None, **options: bool
) -> ClipResponse:
    """The response of the server at `url`; `options` are query parameters such as `preview`.

    Raises:
        InputError: the URL is malformed, or the server rejects the clip.
        LusError: the server does not respond, fails, or is not `lus serve`.
    """
    _check_url(url)
    query = urlencode({name: 1 for name, wanted in options.items() if wanted})
    address = f"{url.rstrip('/')}/v1/clips" + (f"?{query}" if query else "")
    size = str(file.stat().st_size)
    headers = {"Content-Type": "application/octet-stream", "Content-Length": size}
    headers |= {"Authorization": f"Bearer {token}"} if token else {}
    for attempt in range(1, NUM_ATTEMPTS + 1):
        with file.open("rb") as body:
            request = urllib.request.Request(address, data=body, headers=headers, method="POST")
            try:
                with open_url(request, TIMEOUT_S) as reply:
                    return _parse(url, reply.read())
            except urllib.error.HTTPError as error:
                if error.code not in RETRY_STATUSES or attempt == NUM_ATTEMPTS:
                    raise _to_error(url, error) from None
                time.sleep(_wait_s(error.headers.get("Retry-After"), attempt))
            except (OSError, HTTPException, ValueError) as error:
                lost = isinstance(getattr(error, "reason", error), CONNECTION_LOST)
                if lost and attempt < NUM_ATTEMPTS:  # the replica ended during the request
                    time.sleep(attempt)
                    continue
                reason = getattr(error, "reason", None) or error
                remedy = _proxy_remedy(url) or "; is 'lus serve' running?"
                if isinstance(reason, ssl.SSLError):
                    remedy = "; 'lus serve' itself has no certificate: write http://"
                raise LusError(f"{url}: no response ({reason}){remedy}") from error
    raise AssertionError


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        is_valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        is_valid &= url.isprintable() and " " not in url
    except ValueError:  # the port is no number, or a bracket is missing
        is_valid = False
    if not is_valid:
        raise InputError(f"{url}: write http://HOST:PORT, as 'lus serve' prints it")


def _proxy_remedy(url: str) -> str:
    """What to do where a proxy stands between; empty if the connection is direct."""
    if (proxy := proxy_of(url)) is None:
        return ""
    host = urlsplit(url).hostname
    return f" through the proxy {proxy}; if the server is in your network, set no_proxy={host}"


def _parse(url: str, body: bytes) -> ClipResponse:
    try:
        return CLIP_RESPONSE.validate_json(body)
    except ValidationError:
        remedy = _proxy_remedy(url) or "; check --url"
        raise LusError(f"{url}: is not an 'lus serve' of this version{remedy}") from None


def _wait_s(retry_after: str | None, attempt: int) -> float:
    try:
        seconds = float(retry_after or attempt)
    except ValueError:
        seconds = float(attempt)
    return min(seconds, MAX_WAIT_S) if seconds >= 0 else float(attempt)


def _to_error(url: str, error: urllib.error.HTTPError) -> LusError:
    try:
        text = str(json.loads(error.read(10_000))["error"])
    except (ValueError, KeyError, TypeError, OSError, HTTPException):
        text = f"status {error.code}, which 'lus serve' does not send"
        text += _proxy_remedy(url) or "; check --url"
    is_input = 400 <= error.code < 500 and error.code not in RETRY_STATUSES
    return (InputError if is_input else LusError)(f"{url}: {text}")
