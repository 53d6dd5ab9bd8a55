"""A lock that beats: one holder at a time, and none that is gone for good."""

import errno
import fcntl
import json
import multiprocessing
import os
import socket
import time

import pytest
from pyarrow import fs

from lus_ray.errors import InputError
from lus_ray.runs.layout import RunFolder
from lus_ray.storage import lease, paths


@pytest.fixture(params=["s3", "file", "folder"])
def place(request, tmp_path) -> paths.PathOrUri:
    if request.param == "s3":
        return request.getfixturevalue("bucket").uri("run")
    return tmp_path.as_uri() if request.param == "file" else tmp_path


@pytest.fixture
def locking(place, monkeypatch):
    """Holds the place: by the system in a folder, by beats at a URI."""
    monkeypatch.setattr(lease, "SETTLE_S", 0.05)
    return lambda: RunFolder(place).lock()


def test_a_second_command_is_refused_and_told_who_holds_the_run(locking):
    me = rf"process {os.getpid()} on host {socket.gethostname()} since \d\d:\d\d \(0 min ago\)"
    with locking(), pytest.raises(InputError, match=me), locking():
        pass
    with locking():
        pass


def test_a_holder_killed_on_this_machine_holds_nothing(locking):
    context = multiprocessing.get_context("fork")
    taken = context.Event()
    holder = context.Process(target=hold, args=(locking, taken))
    holder.start()
    assert taken.wait(30)
    with pytest.raises(InputError, match=f"process {holder.pid} on"), locking():
        pass
    holder.kill()
    holder.join()
    began = time.monotonic()
    with locking():
        assert time.monotonic() - began < 5


def test_a_holder_on_another_machine_counts_for_90_seconds(bucket, monkeypatch):
    place = bucket.uri("run")
    monkeypatch.setattr(lease, "SETTLE_S", 0.05)
    write_lock(place, host="far", process=1)
    with pytest.raises(InputError, match=r"on host far .* free in \d\d s"), RunFolder(place).lock():
        pass
    monkeypatch.setattr(lease, "STALE_S", 0.0)
    with RunFolder(place).lock():
        pass


def test_a_number_of_a_dead_process_that_another_one_has_now_is_no_holder(bucket, monkeypatch):
    place = bucket.uri("run")
    monkeypatch.setattr(lease, "SETTLE_S", 0.05)
    write_lock(place, host=socket.gethostname(), process=os.getpid(), began=1e9)
    with RunFolder(place).lock():
        pass


def test_a_holder_that_finds_another_one_in_its_place_stops(bucket, monkeypatch, capsys):
    place = bucket.uri("run")
    monkeypatch.setattr(lease, "SETTLE_S", 0.05)
    monkeypatch.setattr(lease, "HEARTBEAT_S", 0.1)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        lose(place)
    assert time.monotonic() - began < 10
    assert "taken over by process 1 on host far" in capsys.readouterr().err


def test_a_beat_is_told_again_and_again(bucket, monkeypatch):
    place = bucket.uri("run")
    monkeypatch.setattr(lease, "SETTLE_S", 0.05)
    monkeypatch.setattr(lease, "HEARTBEAT_S", 0.1)
    with RunFolder(place).lock():
        first = read_lock(place)["beat"]
        wait_for(lambda: read_lock(place)["beat"] > first)


def test_a_filesystem_that_locks_nothing_is_held_by_beats(tmp_path, monkeypatch):
    def unsupported(file, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    monkeypatch.setattr(lease, "SETTLE_S", 0.05)
    with RunFolder(tmp_path).lock():
        assert json.loads((tmp_path / lease.LEASE_NAME).read_text())["process"] == os.getpid()
        with pytest.raises(InputError, match="heartbeat"), RunFolder(tmp_path).lock():
            pass
    assert not (tmp_path / lease.LEASE_NAME).exists()


def test_a_bucket_that_is_not_there_is_told_in_one_line(bucket):
    with (
        pytest.raises(InputError, match="cannot be written: there is no such bucket"),
        RunFolder("s3://nobody-has-this/run").lock(),
    ):
        pass


def hold(locking, taken) -> None:
    with locking():
        taken.set()
        time.sleep(60)


def lose(place: str) -> None:
    """Hold a place that another machine takes over meanwhile."""
    with RunFolder(place).lock():
        write_lock(place, host="far", process=1)
        time.sleep(20)


def wait_for(fact) -> None:
    for _ in range(200):
        if fact():
            return
        time.sleep(0.05)
    raise AssertionError("never came")


def write_lock(place: str, *, host: str, process: int, began: float | None = None) -> None:
    system, root = paths.open_filesystem(place)
    if isinstance(system, fs.LocalFileSystem):
        system.create_dir(root)
    now = time.time()
    about = {"process": process, "host": host, "token": "x", "began": began or now, "beat": now}
    with system.open_output_stream(f"{root}/{lease.LEASE_NAME}") as file:
        file.write(json.dumps(about).encode())


def read_lock(place: str) -> dict:
    system, root = paths.open_filesystem(place)
    with system.open_input_file(f"{root}/{lease.LEASE_NAME}") as file:
        return json.loads(file.read())
