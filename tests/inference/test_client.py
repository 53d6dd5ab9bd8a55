"""How `lus predict --url` treats a server's responses, and how it prints them."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from lus_ray.clip import frames_of
from lus_ray.data import store
from lus_ray.errors import InputError, LusError
from lus_ray.inference import client
from lus_ray.inference.response import wrap_frames
from lus_ray.inference.schema import CLIP_RESPONSE


class Handler(BaseHTTPRequestHandler):
    replies: ClassVar[list[tuple[int, dict[str, str], bytes]]] = []
    """Given in turn, the last one for ever."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        status, headers, body = self.replies.pop(0) if self.replies[1:] else self.replies[0]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        pass


@pytest.fixture(scope="module")
def url():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def file(tmp_path):
    (tmp_path / "clip.gif").write_bytes(b"GIF89a")
    return tmp_path / "clip.gif"


@pytest.fixture(scope="module")
def response(local, runs):
    row = next(store.read(runs / "clips"))
    return local.predict(wrap_frames(frames_of(row)), uncertainty=True)


@pytest.mark.parametrize("retry_after", ["soon", "nan", "-3", "0"])
def test_a_busy_server_is_asked_again_whatever_its_retry_after(
    url, file, response, retry_after, monkeypatch
):
    monkeypatch.setattr(client.time, "sleep", lambda seconds: None)
    busy = (503, {"Retry-After": retry_after}, b"busy")
    Handler.replies = [busy, (200, {}, CLIP_RESPONSE.dump_json(response))]
    assert client.request_prediction(url, file) == response


@pytest.mark.parametrize(
    ("reply", "error", "words"),
    [
        *(
            ((200, {}, body), LusError, "is not an 'lus serve' of this version")
            for body in (b'{"status": "ok"}', b"[]", b"<html>")
        ),
        ((400, {}, b'{"error": "not a clip"}'), InputError, "not a clip"),
        ((500, {}, b"<html>"), LusError, "status 500"),
    ],
)
def test_other_responses_are_errors_of_one_line(url, file, reply, error, words):
    Handler.replies = [reply]
    with pytest.raises(LusError, match=words) as raised:
        client.request_prediction(url, file)
    assert type(raised.value) is error
    assert "\n" not in str(raised.value)


def test_a_wait_is_limited_and_grows_without_a_retry_after():
    assert client._wait_s("3600", 1) == client.MAX_WAIT_S
    assert [client._wait_s(None, attempt) for attempt in (1, 2)] == [1, 2]
