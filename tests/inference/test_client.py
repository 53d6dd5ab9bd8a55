"""What `lus predict --url` makes of what a server says."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lus_ray.errors import LusError
from lus_ray.inference import client

ANSWER = dict.fromkeys(client.PARTS)
Reply = tuple[int, dict[str, str], str]


class Server(ThreadingHTTPServer):
    """Gives its replies one after the other, the last one for ever."""

    replies: list[Reply]

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        replies = self.server.replies
        status, headers, text = replies.pop(0) if len(replies) > 1 else replies[0]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    (tmp_path / "clip.gif").write_bytes(b"GIF89a")
    return tmp_path / "clip.gif"


@pytest.mark.parametrize("asked", ["Wed, 21 Oct 2026 07:28:00 GMT", "soon", "nan", "-3", "0"])
def test_a_busy_server_is_asked_again_whatever_it_says_of_when(server, clip, asked):
    answer = json.dumps(ANSWER)
    server.replies = [(503, {"Retry-After": asked}, "busy"), (200, {}, answer)]
    assert client.ask(server.url, clip) == ANSWER


@pytest.mark.parametrize("text", ['{"status": "ok"}', "[]", "5", '[["clip", 1]]'])
def test_another_server_is_told_from_ours_in_one_line(server, clip, text):
    server.replies = [(200, {}, text)]
    with pytest.raises(LusError, match="answers otherwise than 'lus serve' does") as caught:
        client.ask(server.url, clip)
    assert "\n" not in str(caught.value)


def test_a_wait_has_an_end_and_grows_where_none_is_named():
    assert client._wait_s("3600", 1) == client.MOST_WAIT_S
    assert [client._wait_s(None, attempt) for attempt in (1, 2)] == [1, 2]
