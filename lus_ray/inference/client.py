"""Asks a server what it says of a clip: what `lus predict --url` does.

Why it asks again: an answer changes nothing on the server, so that a busy or restarting one can be
asked as often as its Retry-After says.
"""

import json
import time
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from lus_ray.errors import InputError, LusError

AGAIN = (429, 503)
"""Statuses of a server that can be asked again."""
BROKEN = (ConnectionResetError, BrokenPipeError)
NUM_ATTEMPTS = 6
SECONDS = 120.0
MOST_WAIT_S = 30.0
PARTS = (
    "clip", "lung_ultrasound", "biomarkers", "experts", "frames", "clip_scores", "masks", "notice",
)  # fmt: skip
"""What every answer of `lus_ray.inference.response` has, and that of no other server."""


def ask(url: str, file: Path, *, token: str | None = None, **choice: bool) -> dict[str, Any]:
    """The answer of the server at `url` to a clip; `choice` are parameters such as `preview`.

    Raises:
        InputError: the URL is none, or the server refuses the clip.
        LusError: nobody answers, the server fails, or it is no `lus serve`.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise InputError(f"{url}: write http://HOST:PORT, as 'lus serve' prints it")
    query = urlencode({name: 1 for name, wanted in choice.items() if wanted})
    address = f"{url.rstrip('/')}/v1/clips" + (f"?{query}" if query else "")
    headers = {
        "Content-Type": "application/octet-stream",
        "Content-Length": str(file.stat().st_size),
    } | ({"Authorization": f"Bearer {token}"} if token else {})
    for attempt in range(1, NUM_ATTEMPTS + 1):
        with file.open("rb") as body:
            request = urllib.request.Request(address, data=body, headers=headers, method="POST")
            try:
                with urllib.request.urlopen(request, timeout=SECONDS) as response:
                    return _checked(url, json.load(response))
            except urllib.error.HTTPError as error:
                if error.code not in AGAIN or attempt == NUM_ATTEMPTS:
                    raise _refused(url, error) from None
                time.sleep(_wait_s(error.headers.get("Retry-After"), attempt))
            except (OSError, HTTPException, ValueError) as error:
                broken = isinstance(getattr(error, "reason", error), BROKEN)
                if broken and attempt < NUM_ATTEMPTS:  # whoever answered ended under the request
                    time.sleep(attempt)
                    continue
                reason = getattr(error, "reason", None) or error
                raise LusError(f"{url}: no answer ({reason}); is 'lus serve' running?") from error
    raise AssertionError


def _checked(url: str, answer: Any) -> dict[str, Any]:
    if not isinstance(answer, dict) or not set(PARTS) <= answer.keys():
        raise LusError(f"{url}: answers otherwise than 'lus serve' does; check --url")
    return answer


def _wait_s(asked: str | None, attempt: int) -> float:
    """Seconds that a server asks for; where it names a date or none, longer with every attempt."""
    try:
        seconds = float(asked or attempt)
    except ValueError:
        seconds = float(attempt)
    return min(seconds, MOST_WAIT_S) if seconds >= 0 else float(attempt)


def _refused(url: str, error: urllib.error.HTTPError) -> LusError:
    """What the server says is wrong, bad input where it lies with the clip."""
    try:
        text = str(json.loads(error.read(10_000))["error"])
    except (ValueError, KeyError, TypeError, OSError):
        text = f"status {error.code}"
    kind = InputError if 400 <= error.code < 500 and error.code not in AGAIN else LusError
    return kind(f"{url}: {text}")
