"""Requests to this machine never reach the proxy that the environment names."""

import socket
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from lus_ray.errors import InputError, LusError
from lus_ray.inference import client
from lus_ray.loopback import exempt_from_proxies, is_this_machine, proxy_of

REST = "127.0.0.0/8,::1,[::1],169.254.169.254,metadata.google.internal"
LOOPBACK = f"localhost,127.0.0.1,{REST}"
VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "no_grpc_proxy")


class Proxy(BaseHTTPRequestHandler):
    """A captive portal: it answers everything with a page, and records what it gets."""

    received: ClassVar[list[str]] = []

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.received.append(self.path)
        self.send_response(302 if "moved" in self.path else 200)
        self.send_header("Location", self.path.replace("moved", "portal"))
        self.end_headers()
        self.wfile.write(b"<html>Log in</html>")

    do_GET = do_CONNECT = do_POST

    def log_message(self, format, *args):
        pass


@pytest.fixture(scope="module")
def portal():
    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture
def proxy(portal, monkeypatch):
    """The variables of a proxy, in both cases, and the list of what it received."""
    for name in (*VARIABLES, *map(str.upper, VARIABLES)):
        monkeypatch.delenv(name, raising=False)
    for name in VARIABLES[:3]:
        monkeypatch.setenv(name, f"http://me:secret@127.0.0.1:{portal}/")
        monkeypatch.setenv(name.upper(), f"http://me:secret@127.0.0.1:{portal}/")
    Proxy.received.clear()
    return Proxy.received


@pytest.fixture
def clip(tmp_path):
    (tmp_path / "clip.gif").write_bytes(b"GIF89a")
    return tmp_path / "clip.gif"


@pytest.mark.parametrize(
    "host",
    ["localhost", "LocalHost.", "127.0.0.1", "127.0.1.1", "127.1", "[::1]", "[::ffff:127.0.0.1]",
     "0.0.0.0", "clips.localhost", socket.gethostname()],
)  # fmt: skip
def test_a_clip_for_this_machine_does_not_leave_it(host, proxy, clip):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]  # where nobody listens
        with pytest.raises(LusError, match=r"no response \(.*is 'lus serve' running"):
            client.request_prediction(f"http://{host}:{port}", clip, token="t")
    assert proxy == []


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "http://", "http://[::1", "http://a b:80",
                                 "http://a:port", "http://a:99999", "ftp://a"])  # fmt: skip
def test_a_malformed_url_is_bad_input(url, clip):
    with pytest.raises(InputError, match="write http://HOST:PORT"):
        client.request_prediction(url, clip)


def test_https_to_a_service_without_a_certificate_is_named(portal, clip):
    with pytest.raises(LusError, match=r"has no certificate: write http://$"):
        client.request_prediction(f"https://localhost:{portal}", clip)


def test_a_proxy_that_answers_is_not_taken_for_the_service(portal, proxy, clip):
    for path in ("", "/moved"):
        with pytest.raises(LusError) as raised:
            client.request_prediction(f"http://192.0.2.7:8000{path}", clip)
        assert f"the proxy 127.0.0.1:{portal}; if the server is in" in str(raised.value)
        assert "set no_proxy=192.0.2.7" in str(raised.value)
        assert "secret" not in str(raised.value)
    posted = "http://192.0.2.7:8000"
    assert proxy == [f"{posted}/v1/clips", f"{posted}/moved/v1/clips"]


@pytest.mark.parametrize(
    ("given", "no_proxy", "no_grpc_proxy"),
    [
        ({}, LOOPBACK, LOOPBACK),
        ({"no_proxy": ""}, LOOPBACK, LOOPBACK),
        ({"no_proxy": "*"}, "*", f"*,{LOOPBACK}"),
        ({"NO_PROXY": "a.org"}, f"a.org,{LOOPBACK}", f"a.org,{LOOPBACK}"),
        ({"no_proxy": " a.org , 10.0.0.0/8", "NO_PROXY": "b.org"},
         f" a.org , 10.0.0.0/8,{LOOPBACK}", f" a.org , 10.0.0.0/8,{LOOPBACK}"),
        ({"no_proxy": "127.0.0.1,localhost"}, f"127.0.0.1,localhost,{REST}",
         f"127.0.0.1,localhost,{REST}"),
        ({"no_grpc_proxy": "b.org"}, LOOPBACK, f"b.org,{LOOPBACK}"),
    ],
)  # fmt: skip
def test_exceptions_of_the_user_are_kept_and_extended(given, no_proxy, no_grpc_proxy):
    for proxy in ("http_proxy", "HTTPS_PROXY", "grpc_proxy", "All_Proxy"):
        environment = {proxy: "http://proxy:3128", **given}
        for _ in range(2):  # the second time changes nothing
            exempt_from_proxies(environment)
            assert environment["no_proxy"] == no_proxy
            assert environment["no_grpc_proxy"] == no_grpc_proxy
        assert given.get("NO_PROXY", "") in environment["NO_PROXY"]


def test_an_environment_without_a_proxy_stays_as_it_is():
    environment = {"PATH": "/bin"}
    exempt_from_proxies(environment)
    assert environment == {"PATH": "/bin"}


def test_other_machines_are_reached_as_the_environment_says(portal, proxy, monkeypatch):
    assert not is_this_machine("192.0.2.7")
    assert not is_this_machine("server.invalid")
    assert proxy_of("http://192.0.2.7:8000") == proxy_of("https://server.invalid")
    assert proxy_of("http://192.0.2.7:8000") == f"127.0.0.1:{portal}"
    monkeypatch.setenv("no_proxy", "192.0.2.7")
    assert proxy_of("http://192.0.2.7:8000") is None


def test_plain_requests_to_loopback_stay_here_after_the_exemption(proxy):
    exempt_from_proxies()
    for host in ("127.0.0.1", "localhost", "[::1]"):
        with pytest.raises(OSError, match=r"refused|assign"):
            urllib.request.urlopen(f"http://{host}:9/", timeout=5)
    assert proxy == []
