"""Who may send requests, and what a failing request reveals, without a service behind it."""

import asyncio
import json
import logging
import re
from typing import Any

import pytest
from fastapi import Request
from fastapi.responses import JSONResponse, Response

from lus_ray.data.decoding.decoder import FileDecoder
from lus_ray.figures import CLASS_COLOURS
from serve.http import build_http_app
from serve.page.inline import read_page

SECRET = "Mustermann-4711"
HERE = "127.0.0.1:8000"


async def succeed(request: Request) -> Response:
    return JSONResponse({"path": request.url.path})


async def fail(request: Request) -> Response:
    raise KeyError(SECRET)


def send(
    path: str = "/v1/models", *, clips: Any = succeed, token: str | None = None,
    method: str = "GET", count_failure: Any = lambda: None, **headers: str,
) -> tuple[int, dict[str, str], Any]:  # fmt: skip
    """Status, headers and JSON of the response, or its bytes."""
    app = build_http_app(
        clips=clips, models=succeed, ready=succeed, metrics=succeed, count_failure=count_failure,
        token=token,
    )  # fmt: skip
    fields = {"host": HERE} | {name.lower(): value for name, value in headers.items()}
    scope = {
        "type": "http", "http_version": "1.1", "method": method, "scheme": "http", "path": path,
        "raw_path": path.encode(), "query_string": b"", "root_path": "",
        "server": ("127.0.0.1", 8000), "client": ("127.0.0.1", 1),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in fields.items()],
    }  # fmt: skip
    messages: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def collect(message: Any) -> None:
        messages.append(message)

    asyncio.run(app(scope, receive, collect))  # type: ignore[arg-type]
    start, *rest = messages
    received = {name.decode().lower(): value.decode() for name, value in start["headers"]}
    content = b"".join(m.get("body", b"") for m in rest)
    is_json = received["content-type"] == "application/json"
    return start["status"], received, json.loads(content) if is_json else content


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *((host, 403) for host in ("[", "[::1", "127.0.0.1]", "evil.example")),
        ("127.0.0.1.evil.example", 403),
        *((host, 200) for host in ("localhost", "127.0.0.1:8000", "[::1]:8000", "127.9.9.9")),
    ],
)
def test_without_a_token_only_loopback_names_are_served(host, status):
    assert send(Host=host)[0] == status


@pytest.mark.parametrize("host", ["[", "evil.example"])
def test_with_a_token_every_name_is_served_and_every_other_token_is_rejected(host):
    assert send(Host=host, token=SECRET, Authorization=f"Bearer {SECRET}")[0] == 200
    for other in ("", "Bearer", f"Bearer {SECRET}x", f"Basic {SECRET}", "Bearer \xe9\xff", SECRET):
        status, _, body = send(Host=host, token=SECRET, Authorization=other)
        assert status == 401
        assert SECRET not in str(body)


@pytest.mark.parametrize("origin", ["http://[", "http://evil.example", "null", "http://localhost"])
def test_a_page_of_another_site_is_rejected(origin):
    assert send(Origin=origin)[0] == 403
    assert send(Origin=origin, token="t", Authorization="Bearer t")[0] == 403
    assert send(Origin=f"http://{HERE}")[0] == 200


def test_a_failure_is_counted_and_reveals_no_text_to_client_or_log(caplog):
    counted: list[int] = []
    with caplog.at_level(logging.ERROR, "ray.serve"):
        status, headers, body = send(
            "/v1/clips", clips=fail, method="POST", count_failure=lambda: counted.append(1)
        )
    assert (status, body) == (
        500,
        {"error": "the service failed on this clip; try again, or send another one"},
    )
    assert headers["cache-control"] == "no-store"
    assert counted == [1]
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("a request failed: KeyError at test_http.py:")
    assert "\n" not in line
    assert SECRET not in caplog.text


def test_the_example_is_a_clip_that_the_decoder_reads(tmp_path):
    status, headers, content = send("/v1/example")
    assert (status, headers["content-type"]) == (200, "image/png")
    assert headers["content-disposition"] == 'inline; filename="phantom.png"'
    (tmp_path / "phantom.png").write_bytes(content)
    with FileDecoder() as decoder:
        decoded = decoder.decode(tmp_path / "phantom.png")
    assert (decoded.frames.shape, decoded.fps) == ((30, 224, 224), 25)


def test_the_page_holds_its_style_and_scripts_which_write_text_only():
    source = read_page().decode()
    for tag in ("<style", "<script"):
        assert source.count(tag) == source.count(f"{tag}>") > 0
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", source)
    assert not re.search(r"https?://", source)
    markup = source.partition("</style>")[2].partition("<script>")[0]
    assert not re.search(r"\sstyle=|\son[a-z]+=", markup)


def test_a_score_has_the_colour_of_its_marker_class():
    scores = re.search(r"const SCORES = \[(.*?)\];", read_page().decode(), re.S)
    assert scores is not None
    assert tuple(re.findall(r"#[0-9a-f]{6}", scores[1])) == CLASS_COLOURS[:4]
