"""The server of the page: what it answers, to whom, and under which rules for the browser."""

import gzip
import http.client
import json

import pytest

from lus_ray.errors import InputError
from lus_ray.monitoring.run_state import RunReader
from lus_ray.monitoring.web_page import PageServer
from tests.monitoring.made import NOW, arm, cell, run, running, signs


@pytest.fixture
def out(tmp_path):
    """A run with one running cell."""
    out = run(tmp_path, arm("a"), num_folds=1)
    cell(out, "a", 0, scores=[0.5])
    signs(out, running=running("a/fold0"))
    return out


class Clock:
    def __init__(self):
        self.now = NOW

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def server(out, clock):
    with PageServer(RunReader(out, clock=clock), host="127.0.0.1", port=0) as server:
        yield server


def ask(server, path, method="GET", **headers):
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=10)
    connection.request(method, path, headers={k.replace("_", "-"): v for k, v in headers.items()})
    answer = connection.getresponse()
    return answer, answer.read()


def test_the_page_holds_all_that_it_needs_and_may_run_nothing_else(server):
    answer, page = ask(server, "/")
    assert answer.status == 200
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert policy.count("sha256-") == 2
    assert b"http://" not in page.replace(b"http://www.w3.org/2000/svg", b"")
    assert b"https://" not in page


def test_the_grid_is_sent_again_only_where_it_changed(server, out, clock):
    answer, body = ask(server, "/grid.json")
    tag = answer.headers["ETag"]
    assert json.loads(body)["arms"][0]["cells"][0]["num_epochs"] == 1
    clock.now += 5
    answer, body = ask(server, "/grid.json", If_None_Match=tag)
    assert (answer.status, body) == (304, b"")
    cell(out, "a", 0, scores=[0.5, 0.75])
    answer, body = ask(server, "/grid.json", If_None_Match=tag)
    assert answer.status == 200
    assert answer.headers["ETag"] != tag
    assert json.loads(body)["arms"][0]["cells"][0]["score"] == 0.75


def test_a_long_answer_is_packed_for_those_who_can_unpack_it(server):
    answer, body = ask(server, "/", Accept_Encoding="gzip")
    assert answer.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(body) == ask(server, "/")[1]


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost:8100", 200), ("127.0.0.1", 200), ("[::1]:8100", 200), ("10.0.0.7:8100", 200),
     ("evil.example:8100", 421), ("127.0.0.1.evil.example", 421), ("", 421)],
)  # fmt: skip
def test_a_name_that_a_stranger_can_point_here_is_refused(server, host, status):
    assert ask(server, "/grid.json", Host=host)[0].status == status


def test_nothing_else_of_the_folder_is_served(server, out):
    (out / "report.html").write_text("<p>the report")
    answer, body = ask(server, "/report.html")
    assert (answer.status, body) == (200, b"<p>the report")
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    for path in ("/experiment.json", "/../experiment.json", "/%2e%2e/x", "//etc/passwd", "/cells"):
        assert ask(server, path)[0].status == 404
    assert ask(server, "/", method="POST")[0].status == 501


def test_figures_for_prometheus_are_served(server):
    answer, body = ask(server, "/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert b'lus_cell_epoch{experiment="study",arm="a",fold="0"} 1' in body


def test_a_folder_that_went_away_is_told_and_comes_back(server, out):
    record = (out / "experiment.json").read_text()
    (out / "experiment.json").unlink()
    answer, body = ask(server, "/grid.json")
    assert answer.status == 503
    assert b"no experiment.json here" in body
    (out / "experiment.json").write_text(record)
    assert ask(server, "/grid.json")[0].status == 200


def test_a_port_in_use_is_refused(server, out):
    with pytest.raises(InputError, match="cannot listen on 127"):
        PageServer(RunReader(out), host="127.0.0.1", port=server.server_address[1])
