"""PublishedFile files: fetched once, checked, and plain words where there is no network."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lus_ray.errors import FetchError, InputError, LusError
from lus_ray.nets.encoder import KINDS
from lus_ray.nets.pretrained.published import (
    PUBLISHED,
    PublishedFile,
    cache_folder,
    download,
    fetch,
)

CONTENT = b"weights" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT at /w.pth, breaks off in the middle at /cut.pth; counts requests."""

    num_requests = 0


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.num_requests += 1
        if self.path not in ("/w.pth", "/cut.pth"):
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT if self.path == "/w.pth" else CONTENT[:100])

    def log_message(self, *_: object) -> None:
        """Silence."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def at(server: Server, name: str, sha256: str | None = SHA256) -> PublishedFile:
    return PublishedFile(f"http://127.0.0.1:{server.server_port}/{name}", sha256)


def test_a_file_is_fetched_once_and_then_taken_from_the_cache(server: Server, tmp_path: Path):
    first = download(at(server, "w.pth"), tmp_path / "new")
    second = download(at(server, "w.pth"), tmp_path / "new")
    assert first == second == tmp_path / "new" / "w.pth"
    assert first.read_bytes() == CONTENT
    assert server.num_requests == 1


def test_another_file_than_the_published_one_is_refused_and_not_kept(
    server: Server, tmp_path: Path
):
    with pytest.raises(FetchError, match="sent another file"):
        download(at(server, "w.pth", "0" * 64), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_broken_connection_leaves_nothing_behind(server: Server, tmp_path: Path):
    with pytest.raises(FetchError, match="broke off"):
        download(at(server, "cut.pth", None), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_absent_file_and_a_refused_connection_say_where_to_put_it_by_hand(
    server: Server, tmp_path: Path
):
    absent = at(server, "absent.pth")
    with pytest.raises(FetchError, match="Not Found") as refusal:
        download(absent, tmp_path)
    assert absent.url in str(refusal.value)
    assert str(tmp_path / "absent.pth") in str(refusal.value)
    gone = at(server, "w.pth")
    server.shutdown()
    server.server_close()
    with pytest.raises(FetchError, match="refused") as refusal:
        download(gone, tmp_path)
    assert str(tmp_path / "w.pth") in str(refusal.value)
    assert refusal.value.exit_code == 1


def test_a_damaged_file_in_the_cache_is_named(server: Server, tmp_path: Path):
    (tmp_path / "w.pth").write_bytes(b"half of it")
    with pytest.raises(FetchError, match=r"w\.pth is damaged; remove it"):
        download(at(server, "w.pth"), tmp_path)
    assert server.num_requests == 0


def test_a_file_put_there_by_hand_needs_no_network(tmp_path: Path):
    (tmp_path / "w.pth").write_bytes(CONTENT)
    nowhere = PublishedFile("http://127.0.0.1:9/w.pth", SHA256)
    assert download(nowhere, tmp_path) == tmp_path / "w.pth"


def test_a_folder_that_cannot_be_made_is_one_line(server: Server, tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LusError, match="cannot fetch"):
        download(at(server, "w.pth"), tmp_path / "file")


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(InputError, match="no official weights 'resnet19'") as refusal:
        fetch("resnet19")
    assert str(refusal.value).endswith(", ".join(PUBLISHED))


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("LUS_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("LUS_CACHE")
    assert cache_folder() == Path.home() / ".cache" / "lus_ray"


def test_of_a_checksum_as_much_is_checked_as_is_known(server: Server, tmp_path: Path):
    assert download(at(server, "w.pth", SHA256[:8]), tmp_path / "one").read_bytes() == CONTENT
    with pytest.raises(FetchError, match="sent another file"):
        download(at(server, "w.pth", SHA256[:7] + "x"), tmp_path / "two")
    assert not (tmp_path / "two" / "w.pth").exists()


def test_checksums_begin_with_the_digits_in_the_names_of_the_files():
    of_torchvision = {n: w for n, w in PUBLISHED.items() if "download.pytorch.org" in w.url}
    assert set(of_torchvision) == set(PUBLISHED) - {"i3d-r50-kinetics"}
    for published in of_torchvision.values():
        assert published.sha256 is not None
        assert len(published.sha256) in (8, 64)
        assert published.file_name.endswith(f"-{published.sha256[:8]}.pth")


def test_every_encoder_has_a_file_of_weights_under_its_own_name():
    assert {f"{kind}-imagenet" for kind in (*KINDS, "mobilenet_v2")} <= set(PUBLISHED)
