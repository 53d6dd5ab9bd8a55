"""Object storage for tests: a real server of the S3 protocol in another process.

The fixture `bucket` is shared by a session; each test takes a fresh URI from it. A test that stops
its storage starts another server with `serving`.
"""

import contextlib
import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lus_ray.storage.paths import open_filesystem

START_SECONDS = 90
SETTINGS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
UNSET = ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL_S3")


@dataclass(frozen=True)
class Bucket:
    """A bucket of a running server, `process`, that listens at `endpoint`."""

    name: str
    endpoint: str
    process: subprocess.Popen = field(repr=False)

    def uri(self, *names: str) -> str:
        """A fresh URI."""
        return "/".join((f"s3://{self.name}", uuid.uuid4().hex[:12], *names))

    def copied(self, folder: Path) -> str:
        """The URI of a copy of all files below a folder."""
        uri = self.uri(folder.name)
        filesystem, root = open_filesystem(uri)
        for path in folder.rglob("*"):
            if path.is_file():
                with filesystem.open_output_stream(f"{root}/{path.relative_to(folder)}") as file:
                    file.write(path.read_bytes())
        return uri

    def explicit(self, uri: str) -> str:
        """The URI with its server, for a process without the environment variables."""
        scheme, address = self.endpoint.split("://")
        return f"{uri}?scheme={scheme}&endpoint_override={address}"


@pytest.fixture(scope="session")
def bucket() -> Iterator[Bucket]:
    """A bucket whose server and keys are in the environment."""
    if importlib.util.find_spec("moto") is None:
        pytest.skip("moto is not installed: pip install 'lus_ray[dev]'")
    with pytest.MonkeyPatch.context() as environment, serving() as served:
        for name, value in {**SETTINGS, "AWS_ENDPOINT_URL": served.endpoint}.items():
            environment.setenv(name, value)
        for name in UNSET:
            environment.delenv(name, raising=False)
        yield served


@contextlib.contextmanager
def serving(name: str = "lung", **settings: str) -> Iterator[Bucket]:
    """Start a server with one bucket; `settings` are environment variables of moto.

    INITIAL_NO_AUTH_ACTION_COUNT="1" allows to make the bucket and nothing more.
    """
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(
        command,
        env={**os.environ, **SETTINGS, **settings},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _make_bucket(f"{endpoint}/{name}", process)
        yield Bucket(name, endpoint, process)
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _make_bucket(url: str, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the S3 server ended with {process.returncode} as it began")
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            urllib.request.urlopen(urllib.request.Request(url, method="PUT"), timeout=5)
            return
        time.sleep(0.1)
    raise RuntimeError(f"the S3 server did not answer in {START_SECONDS} s")
