import hashlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lus_ray.clip import frames_of, make_row
from lus_ray.data import check, ledger, store
from lus_ray.data.duplicates.groups import assign_groups
from lus_ray.data.ingest.pipeline import ingest
from lus_ray.data.loading import streaming
from lus_ray.data.transforms.view import View
from lus_ray.errors import StoreError
from lus_ray.storage import paths

OPTIONS = {"patients": 3, "clips": 2, "frames": 4, "size": 64, "masks": "none"}


def write(path, rows, source="test"):
    with store.stage_source(path, source) as work:
        with store.Writer(work.folder, source) as writer:
            for row in rows:
                writer.add(row)
        assign_groups(work.folder, work.beside)
        store.record_source(work.folder, source, {"seed": 1})


def row(source, number, value, **columns):
    frames = np.random.default_rng(value).integers(0, 256, (3, 32, 32), np.uint8)
    who = {"clip": f"{source}/c{number}", "patient": f"{source}/p{number}", "source": source}
    return make_row(frames, **who, **columns)


def shards(path):
    return [paths.basename(file) for file in paths.list_files(paths.join(path, "clips"))]


def clips(path):
    return store.read_index(path)["clip"].to_pylist()


@pytest.fixture
def uri(bucket):
    """The URI of a store with one clip in each of two sources."""
    uri = bucket.uri("clips")
    write(uri, [row("one", 0, 0)], "one")
    write(uri, [row("two", 0, 2)], "two")
    return uri


@pytest.mark.slow
def test_a_copy_has_the_same_index_rows_counts_sources_findings_and_streamed_batches(
    phantom_store, bucket, tmp_path, monkeypatch
):
    copy = bucket.copied(phantom_store)
    names = clips(phantom_store)[::-7]
    pairs = zip(store.read(phantom_store, names), store.read(copy, names), strict=True)
    for local, remote in pairs:
        assert np.array_equal(frames_of(local), frames_of(remote))
        assert local | {"frames": None} == remote | {"frames": None}
    assert store.read_index(copy).equals(store.read_index(phantom_store))
    assert store.count_frames(copy) == store.count_frames(phantom_store) == 48 * 8
    assert store.count_frames_by_clip(copy) == store.count_frames_by_clip(phantom_store)
    assert store.read_sources(copy) == store.read_sources(phantom_store)
    monkeypatch.chdir(tmp_path)
    findings = check.check_store(copy)
    assert findings == check.check_store(phantom_store)
    page = tmp_path / f"check-{paths.basename(copy)}.html"
    assert check.write_page(findings, copy).resolve() == page
    view = View(num_frames=2, height=24, width=24)
    rows = store.read_index(copy).to_pylist()[::9]
    streams = [streaming.StreamedFrames(str(path)) for path in (copy, phantom_store)]
    epochs = [stream.epochs(rows, view=view, columns=(), batch=4, seed=0) for stream in streams]
    opened = streaming._open.cache_info().misses
    for ours, local in zip(epochs[0](0), epochs[1](0), strict=True):
        assert np.array_equal(ours["frames"], local["frames"])
    for _ in epochs[0](1):
        pass
    shards = {row["shard"] for row in rows}  # of either store, opened once for all threads
    assert streaming._open.cache_info().misses == opened + 2 * len(shards)


def test_a_source_read_into_a_bucket_equals_one_read_into_a_folder(bucket, tmp_path):
    folder, uri = tmp_path / "clips", bucket.uri("clips")
    for path in (folder, uri):
        ingest("phantom", None, path, **OPTIONS, workers=1)
    assert store.read_index(uri).equals(store.read_index(folder))
    recorded = store.read_sources(uri)["phantom"]["options"]
    assert recorded == {name: str(value) for name, value in OPTIONS.items()}
    entries = ledger.read(folder / "ledger.jsonl")
    assert ledger.read(paths.join(uri, "ledger.jsonl")) == entries
    assert [entry.source for entry in entries] == ["phantom"]


def test_copies_in_two_sources_share_a_group_in_a_bucket_as_in_a_folder(bucket, tmp_path):
    for path in (tmp_path, bucket.uri("clips")):
        write(path, [row("one", 0, 0), row("one", 1, 1)], "one")
        write(path, [row("aaa", 0, 0)], "aaa")
        assert clips(path) == ["aaa/c0", "one/c0", "one/c1"]
        assert store.read_index(path)["group"].to_pylist() == ["aaa/p0", "aaa/p0", "one/p1"]
        assert len(shards(path)) == 2


@pytest.mark.slow
def test_a_shard_that_the_manifest_does_not_name_is_ignored_and_removed_by_the_next_write(uri):
    filesystem, path = paths.open_filesystem(uri)
    filesystem.copy_file(f"{path}/clips/one-00000.parquet", f"{path}/clips/one-00002.parquet")
    assert clips(uri) == ["one/c0", "two/c0"]
    write(uri, [row("one", 3, 3)], "one")
    assert clips(uri) == ["one/c3", "two/c0"]
    assert sorted(store.read_sources(uri)) == ["one", "two"]
    assert shards(uri) == ["one-00003.parquet", "two-00001.parquet"]


def test_a_missing_shard_is_reported_by_name(uri):
    filesystem, path = paths.open_filesystem(uri)
    filesystem.delete_file(f"{path}/clips/one-00000.parquet")
    with pytest.raises(StoreError, match=r"shard one-00000\.parquet is not there"):
        store.read_index(uri)


UPLOAD = """
import sys
from lus_ray.data.store import writing
from tests.data.store.test_remote_store import row, write
writing.SHARD_BYTES = writing.GROUP_CLIPS = 0
write(sys.argv[1], [row("test", number, 100 + number) for number in range(60)])
"""


def kill_while_uploading(uri):
    writer = subprocess.Popen([sys.executable, "-c", UPLOAD, uri])
    while writer.poll() is None and len(shards(uri)) < 10:
        time.sleep(0.005)
    writer.send_signal(signal.SIGKILL)
    assert writer.wait() == -signal.SIGKILL
    assert 10 <= len(shards(uri)) < 60


@pytest.mark.full
def test_a_writer_killed_while_uploading_leaves_the_earlier_store(bucket):
    uri = bucket.uri("clips")
    write(uri, [row("test", 0, 0), row("test", 1, 1)])
    before = store.fingerprint(store.read_index(uri))
    kill_while_uploading(uri)
    assert store.fingerprint(store.read_index(uri)) == before
    subprocess.run([sys.executable, "-c", UPLOAD, uri], check=True)
    assert store.read_index(uri).num_rows == len(shards(uri)) == 60


@pytest.mark.full
def test_a_first_upload_that_is_killed_leaves_no_store(bucket):
    uri = bucket.uri("clips")
    kill_while_uploading(uri)
    with pytest.raises(StoreError, match="no clips here"):
        store.read_index(uri)


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shard")
    write(folder, [row("test", number, number, severity=number % 4) for number in range(6)])
    return store.list_shards(folder)[0].read_bytes()


def outcome(path):
    """The hash of all clips of a store, or a refusal with its number of lines."""
    try:
        rows = [(r["clip"], r["severity"], frames_of(r).tobytes()) for r in store.read(path)]
    except StoreError as error:
        return f"refused in {len(str(error).splitlines())} line"
    return hashlib.sha256(repr(rows).encode()).hexdigest()


@pytest.mark.slow
@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_damaged_or_hostile_shard_is_refused_in_a_bucket_as_in_a_folder(
    bucket, tmp_path_factory, shard, data
):
    start = data.draw(st.integers(0, len(shard) - 1), label="from")
    with_bytes = data.draw(st.binary(max_size=16), label="bytes")
    kind = data.draw(st.sampled_from(["cut", "written over", "put in"]), label="kind")
    rest = {"cut": b"", "written over": shard[start + len(with_bytes) :], "put in": shard[start:]}
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "clips").mkdir()
    (folder / "clips" / "test-00000.parquet").write_bytes(shard[:start] + with_bytes + rest[kind])
    local = outcome(folder)
    assert outcome(bucket.copied(folder)) == local
    assert local == "refused in 1 line" or not local.startswith("refused")
