"""Locks and leases: one holder at a time, and none that is gone for good."""

import errno
import fcntl
import json
import multiprocessing
import os
import socket
import time
from unittest.mock import Mock

import pytest

from lus_ray.errors import InputError
from lus_ray.runs.layout import RunFolder
from lus_ray.storage import lease, paths


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(lease, "SETTLE_S", 0.05)


@pytest.fixture
def uri(bucket):
    return bucket.uri("run")


@pytest.fixture(params=["s3", "file", "folder"])
def locking(request, tmp_path):
    """Locks a run folder: by the system in a folder, by a lease at a URI."""
    if request.param == "s3":
        return RunFolder(request.getfixturevalue("uri")).lock
    return RunFolder(tmp_path.as_uri() if request.param == "file" else tmp_path).lock


def test_a_second_command_is_refused_with_the_holder(locking):
    me = rf"process {os.getpid()} on host {socket.gethostname()} since \d\d:\d\d \(0 min ago\)"
    for _ in range(2):
        with locking(), pytest.raises(InputError, match=me), locking():
            pass


def test_a_holder_killed_on_this_machine_holds_nothing(locking):
    context = multiprocessing.get_context("fork")
    locked = context.Event()
    holder = context.Process(target=hold, args=(locking, locked))
    holder.start()
    assert locked.wait(30)
    with pytest.raises(InputError, match=f"process {holder.pid} on"), locking():
        pass
    holder.kill()
    holder.join()
    began = time.monotonic()
    with locking():
        assert time.monotonic() - began < 5


def test_a_lease_of_another_machine_expires_after_90_seconds(uri, monkeypatch):
    write_lock(uri, host="far", process=1)
    with pytest.raises(InputError, match=r"on host far .* free in \d\d s"), RunFolder(uri).lock():
        pass
    monkeypatch.setattr(lease, "STALE_S", 0.0)
    with RunFolder(uri).lock():
        pass


def test_a_lease_of_a_dead_process_whose_number_is_reused_holds_nothing(uri):
    write_lock(uri, host=socket.gethostname(), process=os.getpid(), began=1e9)
    with RunFolder(uri).lock():
        pass


def test_a_holder_whose_lease_was_taken_over_stops(uri, monkeypatch, capsys):
    monkeypatch.setattr(lease, "HEARTBEAT_S", 0.1)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), RunFolder(uri).lock():  # noqa: PT012
        write_lock(uri, host="far", process=1)
        time.sleep(20)
    assert time.monotonic() - began < 10
    assert "taken over by process 1 on host far" in capsys.readouterr().err


def test_a_heartbeat_is_written_again_and_again(uri, monkeypatch):
    monkeypatch.setattr(lease, "HEARTBEAT_S", 0.1)
    with RunFolder(uri).lock():
        first, deadline = read_lock(uri)["beat"], time.monotonic() + 10
        while read_lock(uri)["beat"] == first:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_filesystem_without_locks_is_held_by_a_lease(tmp_path, monkeypatch):
    no_locks = Mock(side_effect=OSError(errno.ENOLCK, "No locks available"))
    monkeypatch.setattr(fcntl, "flock", no_locks)
    with RunFolder(tmp_path).lock():
        assert json.loads((tmp_path / lease.LEASE_NAME).read_text())["process"] == os.getpid()
        with pytest.raises(InputError, match="heartbeat"), RunFolder(tmp_path).lock():
            pass
    assert not (tmp_path / lease.LEASE_NAME).exists()


def test_a_missing_bucket_is_refused_in_one_line(bucket):
    with (
        pytest.raises(InputError, match="cannot be written: there is no such bucket"),
        RunFolder("s3://nobody-has-this/run").lock(),
    ):
        pass


def hold(locking, locked) -> None:
    with locking():
        locked.set()
        time.sleep(60)


def write_lock(uri: str, *, host: str, process: int, began: float | None = None) -> None:
    system, root = paths.open_filesystem(uri)
    now = time.time()
    about = {"process": process, "host": host, "token": "x", "began": began or now, "beat": now}
    with system.open_output_stream(f"{root}/{lease.LEASE_NAME}") as file:
        file.write(json.dumps(about).encode())


def read_lock(uri: str) -> dict:
    system, root = paths.open_filesystem(uri)
    with system.open_input_file(f"{root}/{lease.LEASE_NAME}") as file:
        return json.loads(file.read())
