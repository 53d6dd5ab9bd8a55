"""Closed-loop clients against a service that echoes; services that start and end."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from lus_ray.bench.server_process import load, run_server
from lus_ray.errors import LusError


class Echo(BaseHTTPRequestHandler):
    """Responds 200 to "clip" and 400 to anything else, and keeps the connection."""

    protocol_version = "HTTP/1.1"
    bodies: list[bytes]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.bodies.append(body)
        self.send_response(200 if body == b"clip" else 400)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(Echo, "bodies", [], raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_every_response_counts_but_the_first_of_each_client(url):
    seconds, elapsed = load(url, b"clip", clients=3, seconds=0.1)
    assert len(Echo.bodies) == len(seconds) + 3
    assert len(seconds) >= 3
    assert elapsed >= 0.1
    assert all(second > 0 for second in seconds)


def test_a_response_with_another_status_ends_the_load(url):
    with pytest.raises(LusError, match="status 400: b'ok'"):
        load(url, b"no clip", clients=2, seconds=0.1)


def test_a_service_responds_inside_the_block_and_is_gone_after_it(tmp_path):
    (tmp_path / "readyz").write_text("ready")
    arguments = ["--bind", "127.0.0.1", "--directory", str(tmp_path)]
    with run_server("http.server", *arguments) as service:
        assert service.url.startswith("http://127.0.0.1:")
        assert service.cpu_s() > 0
    assert not service.process.is_running()


def test_a_service_that_ends_early_is_an_error_with_its_last_line():
    reason = "does not serve: .*error: unrecognized arguments: --model"
    with pytest.raises(LusError, match=reason), run_server("http.server", "--model"):
        pass
