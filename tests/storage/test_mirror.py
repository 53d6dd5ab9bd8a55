"""Copies of runs on object storage, and storage that fails."""

import signal
import threading
import time

import pytest
from pyarrow import fs

from lus_ray.errors import CellError
from lus_ray.storage import object_store, paths
from lus_ray.storage.mirror import Mirror
from tests.disks import disk, small_disk
from tests.object_storage import serving

__all__ = ["disk", "small_disk"]

CELL = "cells/cnn/fold0"


@pytest.fixture(params=["s3", "file"])
def mirror(request, tmp_path, monkeypatch) -> Mirror:
    """A run on an S3 server, and one at a URI of a folder."""
    monkeypatch.setenv("LUS_CACHE", str(tmp_path / "here"))
    if request.param == "file":
        return Mirror((tmp_path / "there").as_uri())
    return Mirror(request.getfixturevalue("bucket").uri("run"))


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """Downloads as another machine, which has a copy of its own, and returns that copy."""

    def download(mirror, *names, **options):
        with monkeypatch.context() as other:
            other.setenv("LUS_CACHE", str(tmp_path / "other"))
            mirror.download(*names, **options)
            return tree(mirror)

    return download


def test_one_machine_downloads_what_another_uploads(mirror, elsewhere):
    put(mirror, "experiment.json", "{}")
    put(mirror, f"{CELL}/checkpoint/weights.safetensors", "w" * 1000)
    uploaded = tree(mirror)
    mirror.upload("experiment.json", "cells")
    assert len(uploaded) == 2
    assert elsewhere(mirror) == uploaded


def test_a_file_that_is_gone_there_is_removed_here_unless_asked_otherwise(mirror):
    put(mirror, f"{CELL}/error.txt", "once")
    mirror.download(CELL, exact=False)
    assert tree(mirror) == {f"{CELL}/error.txt": "once"}
    mirror.download(CELL)
    assert tree(mirror) == {}


def test_an_exact_upload_removes_there_what_is_gone_here(mirror, elsewhere):
    put(mirror, f"{CELL}/state.safetensors", "state")
    put(mirror, f"{CELL}/metrics.jsonl", "{}\n")
    mirror.upload(CELL)
    (mirror.local / CELL / "state.safetensors").unlink()
    mirror.upload(CELL, exact=True)
    assert set(elsewhere(mirror)) == {f"{CELL}/metrics.jsonl"}


@pytest.mark.slow
def test_only_a_changed_file_is_copied_again_even_at_the_same_size(mirror, elsewhere):
    put(mirror, f"{CELL}/a", "one")
    put(mirror, f"{CELL}/b", "two")
    mirror.upload(CELL)
    elsewhere(mirror)
    before = objects(mirror)
    time.sleep(1.1)
    put(mirror, f"{CELL}/a", "ONE")
    mirror.upload(CELL)
    after = objects(mirror)
    changed = [name for name in after if after[name].mtime_ns != before[name].mtime_ns]
    assert changed == [f"{CELL}/a"]
    assert elsewhere(mirror)[f"{CELL}/a"] == "ONE"


def test_the_uri_is_the_truth_and_the_copy_is_not(mirror):
    put(mirror, "experiment.json", "there")
    mirror.upload("experiment.json")
    put(mirror, "experiment.json", "other")
    mirror.download("experiment.json")
    assert tree(mirror) == {"experiment.json": "there"}


def test_large_weights_and_files_that_fit_a_pattern_are_skipped(mirror, elsewhere):
    put(mirror, f"{CELL}/checkpoint/weights.safetensors", "w" * 100)
    put(mirror, f"{CELL}/sample3/cost.json", "{}")
    put(mirror, "predictions/cnn/fold0.parquet", "p" * 100)
    mirror.upload("cells", "predictions")
    light = {"max_weight_bytes": 99, "without": ("sample[0-9]*",)}
    assert set(elsewhere(mirror, **light)) == {"predictions/cnn/fold0.parquet"}
    assert f"{CELL}/sample3/cost.json" in elsewhere(mirror, f"{CELL}/sample3", **light)


def test_locks_and_unfinished_copies_stay_where_they_are(mirror, elsewhere):
    put(mirror, ".lock", "mine")
    put(mirror, f"{CELL}/.checkpoint.17/weights.safetensors", "half")
    put(mirror, f"{CELL}/cost.json", "{}")
    mirror.upload("", "cells")
    assert set(elsewhere(mirror)) == {f"{CELL}/cost.json"}
    mirror.download()
    assert (mirror.local / ".lock").exists()


def test_an_object_with_a_name_that_leads_out_of_the_folder_is_never_written(bucket, tmp_path):
    mirror = Mirror(bucket.uri("run"), retry_s=0)
    system, root = paths.open_filesystem(mirror.uri)
    with system.open_output_stream(f"{root}/cells/../../../stolen") as file:
        file.write(b"x")
    mirror.download()
    assert not list(mirror.local.parent.rglob("stolen"))


@pytest.mark.parametrize("retry_s", [30, 0.6])
def test_an_upload_is_repeated_until_the_storage_is_back_or_its_time_is_over(
    tmp_path, monkeypatch, retry_s
):
    monkeypatch.setenv("LUS_CACHE", str(tmp_path / "here"))
    mirror = Mirror((tmp_path / "there").as_uri(), retry_s=retry_s)
    put(mirror, f"{CELL}/cost.json", "{}")
    obstacle = tmp_path / "there"
    obstacle.write_text("a file where the folder should be")
    pauses = []

    def pause(seconds):
        pauses.append(seconds)
        if len(pauses) == 3:
            obstacle.unlink()

    monkeypatch.setattr(object_store.time, "sleep", pause)
    if retry_s < 1:
        with pytest.raises(CellError, match=rf"^(?=.*gave up).*{mirror.local}.*$"):
            mirror.upload(CELL)
        assert pauses == [0.25, 0.5]
    else:
        mirror.upload(CELL)
        assert pauses == [0.25, 0.5, 1.0]
        assert set(objects(mirror)) == {f"{CELL}/cost.json"}
    assert tree(mirror) == {f"{CELL}/cost.json": "{}"}


@pytest.mark.full
def test_an_upload_waits_for_a_server_that_is_away(tmp_path, monkeypatch, bucket):
    monkeypatch.setenv("LUS_CACHE", str(tmp_path))
    with serving() as storage:
        mirror = Mirror(storage.explicit(storage.uri("run")), retry_s=30)
        put(mirror, f"{CELL}/metrics.jsonl", "{}\n")
        storage.process.send_signal(signal.SIGSTOP)
        threading.Timer(4, storage.process.send_signal, [signal.SIGCONT]).start()
        mirror.upload(CELL)
        assert set(objects(mirror)) == {f"{CELL}/metrics.jsonl"}


def test_a_full_disk_fails_at_once(mirror, small_disk, monkeypatch):
    put(mirror, "big", "b" * 3_000_000)
    mirror.upload("big")
    monkeypatch.setenv("LUS_CACHE", str(small_disk))
    began = time.monotonic()
    with pytest.raises(CellError, match="No space left"):
        mirror.download()
    assert time.monotonic() - began < 10
    assert tree(mirror) == {}


def put(mirror: Mirror, name: str, text: str) -> None:
    path = mirror.local / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def tree(mirror: Mirror) -> dict[str, str]:
    """The local copy."""
    files = (path for path in sorted(mirror.local.rglob("*")) if path.is_file())
    return {path.relative_to(mirror.local).as_posix(): path.read_text() for path in files}


def objects(mirror: Mirror) -> dict[str, fs.FileInfo]:
    return mirror._store().list("")
