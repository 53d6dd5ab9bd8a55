"""What the proxy says by itself becomes an answer of the service; what the ingress says stays."""

import asyncio
import json

import pytest

from serve import front
from serve.front import Front

SCOPE = {"type": "http", "method": "POST", "path": "/v1/clips", "headers": []}


def test_a_request_whose_ingress_died_is_told_to_come_again():
    status, headers, body = answer([])
    assert (status, headers[b"retry-after"]) == (503, b"1")
    assert list(json.loads(body)) == ["error"]
    assert headers[b"content-security-policy"].startswith(b"default-src 'none'")


@pytest.mark.parametrize(
    ("of_proxy", "told", "again"), [(500, 503, b"1"), (503, 503, b"1"), (429, 429, b"1"),
                                    (408, 504, None), (404, 404, None)]
)  # fmt: skip
def test_errors_of_the_proxy_are_told_in_one_line_of_ours(of_proxy, told, again):
    status, headers, body = answer([start(of_proxy), text(b"Request 1f3c: Traceback")])
    assert (status, headers.get(b"retry-after")) == (told, again)
    assert b"Traceback" not in body
    assert "\n" not in json.loads(body)["error"]


def test_answers_and_refusals_of_the_ingress_pass_unchanged():
    own = (b"content-security-policy", b"default-src 'none'")
    for status in (200, 413, 503):
        assert answer([start(status, own), text(b"{}")]) == (status, dict([own]), b"{}")


def test_a_body_over_the_limit_goes_no_further_than_the_proxy(monkeypatch):
    monkeypatch.setattr(front, "MOST_BYTES", 10)
    taken, sent = [], []

    async def proxy(scope, receive, send):
        while (message := await receive())["type"] != "http.disconnect":
            taken.append(message["body"])

    async def receive():
        return {"type": "http.request", "body": b"1234", "more_body": True}

    async def send(message):
        sent.append(message)

    asyncio.run(Front(proxy)(SCOPE, receive, send))
    assert taken == [b"1234", b"1234"]
    assert sent[0]["status"] == 413


def answer(messages: list[dict]) -> tuple[int, dict[bytes, bytes], bytes]:
    """Status, headers and body that a client sees of what a proxy sends."""
    sent: list[dict] = []

    async def proxy(scope, receive, send):
        for message in messages:
            await send(message)

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    asyncio.run(Front(proxy)(SCOPE, receive, send))
    first, *rest = sent
    return first["status"], dict(first["headers"]), b"".join(part["body"] for part in rest)


def start(status: int, *headers: tuple[bytes, bytes]) -> dict:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def text(body: bytes) -> dict:
    return {"type": "http.response.body", "body": body, "more_body": False}
