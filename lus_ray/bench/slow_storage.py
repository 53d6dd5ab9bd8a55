"""A folder as a bucket of an S3 server on loopback that waits before every answer.

It lists and reads, which is what a store needs, in a process of its own.
"""

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

KEYS = {
    "AWS_ACCESS_KEY_ID": "any",
    "AWS_SECRET_ACCESS_KEY": "any",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@contextmanager
def serve_folder(folder: Path, *, delay_s: float) -> Iterator[str]:
    """The query of a URI, after `s3://BUCKET/PATH`, whose bucket has these files.

    A process that reads them needs `KEYS` in its environment.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(folder, delay_s, there), daemon=True)
    process.start()
    try:
        yield f"scheme=http&region=us-east-1&endpoint_override=127.0.0.1:{here.recv()}"
    finally:
        process.terminate()
        process.join()


def _serve(folder: Path, delay_s: float, ready: Connection) -> None:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # it would add 40 ms to the delay

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            time.sleep(delay_s)
            address = urlsplit(self.path)
            _, _, key = unquote(address.path).lstrip("/").partition("/")
            if not key:
                prefix = parse_qs(address.query).get("prefix", [""])[0]
                self.answer(200, _list(folder, prefix).encode())
            elif (folder / key).is_file():
                self.send_file(folder / key)
            else:
                self.answer(404, b"")

        def send_file(self, path: Path) -> None:
            size = path.stat().st_size
            first, _, last = self.headers.get("Range", "bytes=0-").partition("=")[2].partition("-")
            start, end = int(first), min(int(last or size - 1), size - 1)
            if self.command == "HEAD":
                self.answer(200, b"", size)
                return
            with path.open("rb") as file:
                file.seek(start)
                data = file.read(end - start + 1)
            self.answer(206, data, range_=f"bytes {start}-{end}/{size}")

        def answer(self, code: int, data: bytes, size: int | None = None, range_: str = "") -> None:
            self.send_response(code)
            self.send_header("Content-Length", str(len(data) if size is None else size))
            self.send_header("Last-Modified", self.date_time_string(0))
            if range_:
                self.send_header("Content-Range", range_)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *values: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    ready.send(server.server_port)
    server.serve_forever()


def _list(folder: Path, prefix: str) -> str:
    """An answer to ListObjectsV2 with the files directly below a prefix."""
    below = folder / prefix
    files = [path for path in sorted(below.iterdir()) if path.is_file()] if below.is_dir() else []
    contents = "".join(
        f"<Contents><Key>{escape(str(path.relative_to(folder)))}</Key>"
        f"<Size>{path.stat().st_size}</Size></Contents>"
        for path in files
    )
    return f"<ListBucketResult><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>"
