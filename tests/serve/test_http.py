"""Who may ask, and what comes of a request that fails, without a service behind it."""

import asyncio
import json
import logging
from typing import Any

import pytest
from fastapi import Request
from fastapi.responses import JSONResponse, Response

from lus_ray.errors import InputError
from serve.app import guarded
from serve.http import application

SECRET = "Mustermann-4711"
HERE = "127.0.0.1:8000"


async def answered(request: Request) -> Response:
    return JSONResponse({"asked": request.url.path})


async def failing(request: Request) -> Response:
    raise KeyError(SECRET)


def ask(
    path: str = "/v1/models", *, clips: Any = answered, token: str | None = None,
    method: str = "GET", failed: Any = lambda: None, **headers: str,
) -> tuple[int, dict[str, str], Any]:  # fmt: skip
    """Status, headers and JSON of the answer; Host is this machine where no other is given."""
    app = application(
        clips=clips, models=answered, ready=answered, metrics=answered, failed=failed, token=token
    )
    given = {"host": HERE} | {name.lower(): value for name, value in headers.items()}
    scope = {
        "type": "http", "http_version": "1.1", "method": method, "scheme": "http", "path": path,
        "raw_path": path.encode(), "query_string": b"", "root_path": "",
        "server": ("127.0.0.1", 8000), "client": ("127.0.0.1", 1),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in given.items()],
    }  # fmt: skip
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))  # type: ignore[arg-type]
    begun = sent[0]
    told = {name.decode().lower(): value.decode() for name, value in begun["headers"]}
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return begun["status"], told, json.loads(body)


@pytest.mark.parametrize(
    "host", ["[", "[::1", "127.0.0.1]", "evil.example", "127.0.0.1.evil.example"]
)
def test_a_host_that_is_none_or_another_is_refused(host):
    assert ask(Host=host)[0] == 403


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8000", "[::1]:8000", "127.9.9.9"])
def test_the_names_of_this_machine_are_answered(host):
    assert ask(Host=host)[0] == 200


@pytest.mark.parametrize("host", ["[", "evil.example"])
def test_with_a_token_whatever_name_is_answered(host):
    assert ask(Host=host, token="t", Authorization="Bearer t")[0] == 200
    assert ask(Host=host, token="t", Authorization="Bearer x")[0] == 401


@pytest.mark.parametrize("origin", ["http://[", "http://evil.example", "null", "http://localhost"])
def test_a_page_of_another_site_is_refused(origin):
    assert ask(Origin=origin)[0] == 403
    assert ask(Origin=origin, token="t", Authorization="Bearer t")[0] == 403


def test_a_page_of_ours_is_answered():
    assert ask(Origin=f"http://{HERE}")[0] == 200


def test_a_failure_is_counted_and_is_one_line_to_the_client_and_to_the_log_without_its_text(caplog):
    counted: list[int] = []
    with caplog.at_level(logging.ERROR, "ray.serve"):
        status, headers, said = ask(
            "/v1/clips", clips=failing, method="POST", failed=lambda: counted.append(1)
        )
    assert (status, said) == (500, {"error": "the service failed on this request"})
    assert headers["cache-control"] == "no-store"
    assert counted == [1]
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("a request failed: KeyError at test_http.py:")
    assert "\n" not in line
    assert SECRET not in caplog.text


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", "", "[::1]"])
def test_a_host_that_others_reach_is_refused_without_a_token(host):
    with pytest.raises(InputError, match="set a token with --token or LUS_TOKEN"):
        guarded(host, None)
    guarded(host, "token")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_a_host_that_this_machine_alone_reaches_needs_no_token(host):
    guarded(host, None)
