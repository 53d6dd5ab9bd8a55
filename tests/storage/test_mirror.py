"""A run on object storage: its copies here, the objects there, and storage that goes away."""

import signal
import threading
import time
from dataclasses import replace

import pytest
from pyarrow import fs

from lus_ray.errors import CellError, InputError
from lus_ray.storage import mirror as homes
from lus_ray.storage import paths
from lus_ray.storage.mirror import Home
from tests.disks import disk, small_disk
from tests.object_storage import serving

__all__ = ["disk", "small_disk"]

CELL = "cells/cnn/fold0"


@pytest.fixture(params=["s3", "file"])
def home(request, tmp_path, monkeypatch) -> Home:
    """A run on an S3 server, and one at a URI of a folder."""
    monkeypatch.setenv("LUS_CACHE", str(tmp_path / "here"))
    if request.param == "file":
        return Home((tmp_path / "there").as_uri())
    return Home(request.getfixturevalue("bucket").uri("run"))


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """A function that does as another machine, with a copy of its own."""

    def go(action):
        with monkeypatch.context() as there:
            there.setenv("LUS_CACHE", str(tmp_path / "other"))
            return action()

    return go


def test_what_one_machine_pushes_another_one_pulls(home, elsewhere):
    put(home, "experiment.json", "{}")
    put(home, f"{CELL}/checkpoint/weights.safetensors", "w" * 1000)
    home.push("experiment.json", "cells")
    assert elsewhere(lambda: (home.pull(), tree(home))[1]) == {
        "experiment.json": "{}",
        f"{CELL}/checkpoint/weights.safetensors": "w" * 1000,
    }


def test_a_file_that_is_gone_there_is_removed_here_unless_asked_otherwise(home):
    put(home, f"{CELL}/error.txt", "once")
    home.pull(CELL, exact=False)
    assert tree(home) == {f"{CELL}/error.txt": "once"}
    home.pull(CELL)
    assert tree(home) == {}


def test_an_exact_push_removes_there_what_is_gone_here(home, elsewhere):
    put(home, f"{CELL}/state.safetensors", "state")
    put(home, f"{CELL}/metrics.jsonl", "{}\n")
    home.push(CELL)
    (home.local / CELL / "state.safetensors").unlink()
    home.push(CELL, exact=True)
    assert set(elsewhere(lambda: (home.pull(), tree(home))[1])) == {f"{CELL}/metrics.jsonl"}


def test_a_file_that_changed_keeping_its_size_is_copied_again_and_another_is_not(home, elsewhere):
    put(home, f"{CELL}/a", "one")
    put(home, f"{CELL}/b", "two")
    home.push(CELL)
    elsewhere(lambda: home.pull())
    at_first = {name: info.mtime_ns for name, info in objects(home).items()}
    time.sleep(1.1)
    put(home, f"{CELL}/a", "ONE")
    home.push(CELL)
    now = {name: info.mtime_ns for name, info in objects(home).items()}
    assert [name for name in now if now[name] != at_first[name]] == [f"{CELL}/a"]
    assert elsewhere(lambda: (home.pull(), tree(home))[1])[f"{CELL}/a"] == "ONE"


def test_the_uri_is_the_truth_and_the_copy_is_not(home):
    put(home, "experiment.json", "there")
    home.push("experiment.json")
    put(home, "experiment.json", "other")
    home.pull("experiment.json")
    assert tree(home) == {"experiment.json": "there"}


def test_large_weights_and_what_fits_a_pattern_are_left_alone(home, elsewhere):
    put(home, f"{CELL}/checkpoint/weights.safetensors", "w" * 100)
    put(home, f"{CELL}/sample3/cost.json", "{}")
    put(home, "predictions/cnn/fold0.parquet", "p" * 100)
    home.push("cells", "predictions")
    light = {"most_weights": 99, "without": ("sample[0-9]*",)}
    seen = elsewhere(lambda: (home.pull(**light), tree(home))[1])
    assert set(seen) == {"predictions/cnn/fold0.parquet"}
    named = elsewhere(lambda: (home.pull(f"{CELL}/sample3", **light), tree(home))[1])
    assert f"{CELL}/sample3/cost.json" in named


def test_locks_and_unfinished_copies_stay_where_they_are(home, elsewhere):
    put(home, ".lock", "mine")
    put(home, f"{CELL}/.checkpoint.17/weights.safetensors", "half")
    put(home, f"{CELL}/cost.json", "{}")
    home.push("", "cells")
    assert set(elsewhere(lambda: (home.pull(), tree(home))[1])) == {f"{CELL}/cost.json"}
    home.pull()
    assert (home.local / ".lock").exists()


def test_an_object_with_a_name_that_leads_out_of_the_folder_is_never_written(bucket, tmp_path):
    home = Home(bucket.uri("run"), patience_s=0)
    system, root = paths.open_filesystem(home.uri)
    with system.open_output_stream(f"{root}/cells/../../../stolen") as file:
        file.write(b"x")
    home.pull()
    assert not list(home.local.parent.rglob("stolen"))


def test_a_run_is_read_from_a_copy_that_no_campaign_works_in(home):
    put(home, "experiment.json", "{}")
    home.push("experiment.json")
    folder = homes.readable(home.uri)
    assert (folder / "experiment.json").read_text() == "{}"
    assert folder != home.local
    assert folder.name == home.local.name


def test_where_no_run_lies_is_said_in_one_line(bucket, tmp_path):
    with pytest.raises(InputError, match="no run lies there"):
        homes.readable(bucket.uri("nothing"))
    assert homes.readable(tmp_path) == tmp_path
    assert homes.of(tmp_path) is None


@pytest.mark.slow
def test_a_push_waits_out_storage_that_is_away_and_gives_up_after_its_patience(
    tmp_path, monkeypatch, bucket
):
    monkeypatch.setenv("LUS_CACHE", str(tmp_path))
    with serving() as storage:
        home = Home(storage.explicit(storage.uri("run")), patience_s=30)
        put(home, f"{CELL}/metrics.jsonl", "{}\n")
        storage.process.send_signal(signal.SIGSTOP)
        back = threading.Timer(4, storage.process.send_signal, [signal.SIGCONT])
        back.start()
        home.push(CELL)
        assert set(objects(home)) == {f"{CELL}/metrics.jsonl"}

        storage.process.kill()
        storage.process.wait()
        put(home, "predictions/cnn/fold0.parquet", "p")
        began = time.monotonic()
        with pytest.raises(CellError) as told:
            replace(home, patience_s=5).push("predictions")
        assert time.monotonic() - began < 30
    line = str(told.value)
    assert "\n" not in line
    assert "gave up" in line
    assert str(home.local) in line
    assert tree(home)["predictions/cnn/fold0.parquet"] == "p"


def test_a_disk_that_takes_no_more_is_told_at_once(home, small_disk, monkeypatch):
    put(home, "big", "b" * 3_000_000)
    home.push("big")
    monkeypatch.setenv("LUS_CACHE", str(small_disk))
    began = time.monotonic()
    with pytest.raises(CellError, match="No space left"):
        home.pull()
    assert time.monotonic() - began < 10
    assert tree(home) == {}


def put(home: Home, name: str, text: str) -> None:
    """A file of the copy here."""
    path = home.local / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def tree(home: Home) -> dict[str, str]:
    """What lies in this machine's copy."""
    found = (path for path in sorted(home.local.rglob("*")) if path.is_file())
    return {path.relative_to(home.local).as_posix(): path.read_text() for path in found}


def objects(home: Home) -> dict[str, fs.FileInfo]:
    """What lies at the URI."""
    return home._objects().below("")
