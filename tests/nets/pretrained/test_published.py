"""Published files: downloaded once, verified, and clear errors where there is no network."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lus_ray.errors import FetchError, InputError
from lus_ray.nets.encoder import KINDS
from lus_ray.nets.pretrained import published
from lus_ray.nets.pretrained.published import PUBLISHED, PublishedFile, download, find

CONTENT = b"weights" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT at /w.pth, breaks off in the middle at /cut.pth; counts requests."""

    num_requests = 0

    def publish(self, name: str, sha256: str = SHA256) -> PublishedFile:
        return PublishedFile(f"http://127.0.0.1:{self.server_port}/{name}", sha256)


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

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_file_is_downloaded_once(server: Server, tmp_path: Path):
    for _ in range(2):
        path = download(server.publish("w.pth"), tmp_path / "new")
        assert path == tmp_path / "new" / "w.pth"
        assert path.read_bytes() == CONTENT
    assert server.num_requests == 1


@pytest.mark.parametrize(
    ("name", "sha256", "message"),
    [
        ("w.pth", "0" * 64, "sent another file"),
        ("cut.pth", SHA256, "broke off"),
        ("absent.pth", SHA256, "{url} .*Not Found.*put the file at {folder}/absent.pth by hand"),
    ],
)
def test_a_failed_download_leaves_nothing(server, tmp_path, name, sha256, message):
    published = server.publish(name, sha256)
    with pytest.raises(FetchError, match=message.format(url=published.url, folder=tmp_path)):
        download(published, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_a_network_a_file_is_put_there_by_hand(tmp_path: Path):
    nowhere = PublishedFile("http://127.0.0.1:9/w.pth", SHA256)
    with pytest.raises(FetchError, match=f"refused.*{tmp_path}/w.pth") as error:
        download(nowhere, tmp_path)
    assert error.value.exit_code == 1
    (tmp_path / "w.pth").write_bytes(CONTENT)
    assert download(nowhere, tmp_path) == tmp_path / "w.pth"
    (tmp_path / "w.pth").write_bytes(b"half of it")
    with pytest.raises(FetchError, match=r"w\.pth is damaged; remove it"):
        download(nowhere, tmp_path)
    with pytest.raises(FetchError, match=r"cannot fetch .*File exists"):
        download(nowhere, tmp_path / "w.pth")


def test_weights_without_a_whole_checksum_are_taken_from_a_file_alone(tmp_path, monkeypatch):
    known = {"digits": PublishedFile("http://127.0.0.1:9/w.pth", SHA256[:8])}
    monkeypatch.setattr(published, "PUBLISHED", known)
    with pytest.raises(InputError, match=r"digits: .*not downloaded; fetch http://127.0.0.1:9/w.*"):
        find("digits")
    file = tmp_path / "w.pth"
    with pytest.raises(InputError, match="no such file; give digits=FILE"):
        find(f"digits={file}")
    file.write_bytes(CONTENT)
    assert find(f"digits={file}") == find(str(file)) == file
    file.write_bytes(b"another")
    with pytest.raises(InputError, match=rf"not digits: its SHA-256 is .*, not {SHA256[:8]}"):
        find(f"digits={file}")


@pytest.mark.parametrize("text", ["resnet19-imagenet", "resnet19-imagenet=w.pth"])
def test_an_unknown_name_shows_the_nearest_ones(text):
    with pytest.raises(InputError, match=r"did you mean 'resnet18-imagenet'(, '[^']+')*"):
        find(text)


def test_checksums_begin_with_the_digits_in_the_file_names():
    assert {f"{kind}-imagenet" for kind in (*KINDS, "mobilenet_v2")} <= set(PUBLISHED)
    for name in set(PUBLISHED) - {"i3d-r50-kinetics"}:
        file = PUBLISHED[name]
        assert "download.pytorch.org" in file.url
        assert file.can_be_downloaded == (len(file.sha256) == 64)
        assert file.file_name.endswith(f"-{file.sha256[:8]}.pth")
