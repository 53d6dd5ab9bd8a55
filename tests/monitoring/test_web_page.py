"""The server of the page: its routes, the hosts it accepts, and its policies for the browser."""

import gzip
import http.client
import json
from types import SimpleNamespace

import pytest

from lus_ray.errors import InputError
from lus_ray.monitoring.run_state import RunReader
from lus_ray.monitoring.web_page import PageServer, is_known_host
from tests.monitoring.unfinished_runs import (
    NOW,
    arm,
    running_cells,
    write_cell,
    write_run,
    write_status,
)


@pytest.fixture
def out(tmp_path):
    out = write_run(tmp_path, arm("a"), num_folds=1)
    write_cell(out, "a", 0, scores=[0.5])
    write_status(out, running=running_cells("a/fold0"))
    return out


@pytest.fixture
def clock():
    return SimpleNamespace(now=NOW)


@pytest.fixture
def server(out, clock):
    reader = RunReader(out, clock=lambda: clock.now)
    with PageServer(reader, host="127.0.0.1", port=0) as server:
        yield server


def request(server, path, method="GET", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request(method, path, headers={k.replace("_", "-"): v for k, v in headers.items()})
    response = connection.getresponse()
    return response, response.read()


def test_the_page_needs_no_other_file_and_may_run_nothing_else(server):
    response, page = request(server, "/")
    assert response.status == 200
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert policy.count("sha256-") == 2
    assert b"http://" not in page.replace(b"http://www.w3.org/2000/svg", b"")
    assert b"https://" not in page
    zipped, body = request(server, "/", Accept_Encoding="gzip")
    assert zipped.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(body) == page
    head, body = request(server, "/", method="HEAD")
    assert (head.status, body, head.headers["Content-Length"]) == (200, b"", str(len(page)))


def test_the_grid_is_sent_again_only_after_a_change(server, out, clock):
    response, body = request(server, "/grid.json")
    tag = response.headers["ETag"]
    assert json.loads(body)["arms"][0]["cells"][0]["num_epochs"] == 1
    clock.now += 5
    response, body = request(server, "/grid.json", If_None_Match=tag)
    assert (response.status, body) == (304, b"")
    write_cell(out, "a", 0, scores=[0.5, 0.75])
    response, body = request(server, "/grid.json", If_None_Match=tag)
    assert response.status == 200
    assert response.headers["ETag"] != tag
    assert json.loads(body)["arms"][0]["cells"][0]["score"] == 0.75


def test_only_ip_addresses_and_own_names_are_served(server):
    for host in ("localhost:8100", "127.0.0.1", "[::1]:8100", "10.0.0.7:8100", "LUNG"):
        assert is_known_host(host, {"localhost", "lung"})
    for host in ("evil.example:8100", "127.0.0.1.evil.example", ""):
        assert not is_known_host(host, {"localhost"})
    response, _ = request(server, "/grid.json", Host="evil.example")
    assert response.status == 421
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]


def test_nothing_else_of_the_folder_is_served(server, out):
    assert request(server, "/report.html")[0].status == 404
    (out / "report.html").write_text("<p>the report")
    response, body = request(server, "/report.html")
    assert (response.status, body) == (200, b"<p>the report")
    assert "sandbox" in response.headers["Content-Security-Policy"]
    for path in ("/experiment.json", "/../experiment.json", "/%2e%2e/x", "//etc/passwd", "/cells"):
        response, _ = request(server, path)
        assert (response.status, response.headers["Cache-Control"]) == (404, "no-cache")
    assert request(server, "/", method="POST")[0].status == 405


def test_metrics_for_prometheus_are_served(server):
    response, body = request(server, "/metrics")
    assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert b'lus_cell_epoch{arm="a",experiment="study",fold="0",seed="0"} 1.0' in body


def test_a_folder_that_disappears_is_reported_and_may_come_back(server, out):
    record = (out / "experiment.json").read_text()
    (out / "experiment.json").unlink()
    response, body = request(server, "/grid.json")
    assert response.status == 503
    assert b"no experiment.json here" in body
    (out / "experiment.json").write_text(record)
    assert request(server, "/grid.json")[0].status == 200


def test_a_port_in_use_is_refused(server, out):
    with pytest.raises(InputError, match=r"^cannot listen on 127[^\n]*; try --port 0$"):
        PageServer(RunReader(out), host="127.0.0.1", port=server.port)
