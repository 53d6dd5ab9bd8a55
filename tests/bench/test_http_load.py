"""Closed-loop clients against a service that echoes."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from lus_ray.bench.http_load import load
from lus_ray.bench.server_process import free_port, module_path, run_server
from lus_ray.errors import LusError


class Echo(BaseHTTPRequestHandler):
    """Responds 200 to "clip" and 400 to anything else, and keeps the connection."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.bodies.append(body)  # type: ignore[attr-defined]
        self.send_response(200 if body == b"clip" else 400)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@pytest.fixture
def echo() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    server.bodies = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_every_response_counts_but_the_first_of_each_client(echo):
    report = load(f"http://127.0.0.1:{echo.server_port}", b"clip", clients=3, seconds=0.1)
    assert len(echo.bodies) == len(report["seconds"]) + 3
    assert len(report["seconds"]) >= 3
    assert report["elapsed"] >= 0.1
    assert all(0 < second < report["elapsed"] for second in report["seconds"])


def test_a_response_with_another_status_ends_the_load(echo, tmp_path):
    url = f"http://127.0.0.1:{echo.server_port}"
    with pytest.raises(RuntimeError, match="status 400: b'ok'"):
        load(url, b"no clip", clients=1, seconds=0.1)
    file = tmp_path / "file"
    file.write_bytes(b"no clip")
    command = [sys.executable, "-P", module_path("http_load"), url, str(file), "--clients", "2"]
    ended = subprocess.run([*command, "--seconds", "0.1"], capture_output=True, check=False)
    assert ended.returncode
    file.write_bytes(b"clip")
    ended = subprocess.run([*command, "--seconds", "0.1"], capture_output=True, check=True)
    assert len(json.loads(ended.stdout)["seconds"]) >= 2


def test_a_service_responds_inside_the_block_and_is_gone_after_it(tmp_path):
    (tmp_path / "readyz").write_text("ready")
    port = free_port()
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
    with run_server([*command, "--directory", str(tmp_path)], port=port) as service:
        assert service.url == f"http://127.0.0.1:{port}"
        assert service.cpu_s() > 0
        assert service.memory_mb() > 1
        process = service.process
    assert not process.is_running()


def test_a_command_that_ends_early_is_an_error_with_its_last_line():
    command = [sys.executable, "-c", "print('first'); raise SystemExit('no model there')"]
    with (
        pytest.raises(LusError, match="does not serve: no model there"),
        run_server(command, port=1),
    ):
        pytest.fail("nothing responds")
