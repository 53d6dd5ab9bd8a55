"""A store on object storage is its twin in a folder: in what it holds, and in what it refuses."""

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
from lus_ray.errors import SchemaError, StoreError
from lus_ray.storage import paths

PHANTOM = {"patients": 3, "clips": 2, "frames": 4, "size": 64, "masks": "none", "workers": 1}


def write(place, rows, source="test"):
    with store.stage_source(place, source) as work:
        with store.Writer(work.folder, source) as writer:
            for row in rows:
                writer.add(row)
        assign_groups(work.folder, work.beside)
        store.record_source(work.folder, source, {"seed": 1})


def row(source, number, value, **columns):
    frames = np.random.default_rng(value).integers(0, 256, (3, 32, 32), np.uint8)
    who = {"clip": f"{source}/c{number}", "patient": f"{source}/p{number}", "source": source}
    return make_row(frames, **who, **columns)


def objects(place):
    return [paths.basename(file) for file in paths.list_files(paths.join(place, "clips"))]


@pytest.fixture(scope="module")
def twin(bucket, phantom_store):
    return bucket.copied(phantom_store)


def test_a_twin_has_the_same_index_fingerprint_counts_and_notes(phantom_store, twin):
    here, there = store.read_index(phantom_store), store.read_index(twin)
    assert there.num_rows == 48
    assert there.equals(here)
    assert store.fingerprint(there) == store.fingerprint(here)
    assert store.count_frames(twin) == store.count_frames(phantom_store) == 48 * 8
    assert store.count_frames_by_clip(twin) == store.count_frames_by_clip(phantom_store)
    assert store.read_sources(twin) == store.read_sources(phantom_store)


def test_a_twin_has_the_same_rows_in_any_order(phantom_store, twin):
    names = store.read_index(phantom_store)["clip"].to_pylist()[::-7]
    for here, there in zip(store.read(phantom_store, names), store.read(twin, names), strict=True):
        assert np.array_equal(frames_of(here), frames_of(there))
        del here["frames"], there["frames"]
        assert here == there


def test_a_twin_streams_the_same_batches(phantom_store, twin):
    view = View(num_frames=2, height=24, width=24)
    located = list(store.locate_clips(twin).values())[::9]
    item = {
        "places": [list(map(str, place)) for place in located],
        "seeds": list(range(len(located))),
        "chosen": [-1] * len(located),
    }
    here = streaming.sample_batch(item, store_path=str(phantom_store), view=view)
    there = streaming.sample_batch(item, store_path=twin, view=view)
    assert len(there["frames"]) == len(located) * 2 * 24 * 24
    assert there == here


def test_a_twin_has_the_same_findings(phantom_store, twin, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here, there = check.check_store(phantom_store), check.check_store(twin)
    assert there == here
    assert (
        check.write_page(there, twin).resolve() == tmp_path / f"check-{paths.basename(twin)}.html"
    )


def test_a_source_read_into_a_bucket_is_the_one_read_into_a_folder(bucket, tmp_path):
    uri = bucket.uri("clips")
    for place in (tmp_path / "clips", uri):
        ingest("phantom", None, place, **PHANTOM)
    here, there = store.read_index(tmp_path / "clips"), store.read_index(uri)
    assert store.fingerprint(there) == store.fingerprint(here)
    assert store.read_sources(uri)["phantom"]["options"] == {
        name: str(PHANTOM[name]) for name in ("patients", "clips", "frames", "size", "masks")
    }
    entries = ledger.read(tmp_path / "clips" / "ledger.jsonl")
    assert ledger.read(paths.join(uri, "ledger.jsonl")) == entries
    assert [entry.source for entry in entries] == ["phantom"]


def test_a_source_read_again_replaces_it_in_a_bucket_and_keeps_the_others(bucket):
    uri = bucket.uri("clips")
    write(uri, [row("one", 0, 0), row("one", 1, 1)], "one")
    write(uri, [row("two", 0, 2)], "two")
    write(uri, [row("one", 5, 5)], "one")
    assert store.read_index(uri)["clip"].to_pylist() == ["one/c5", "two/c0"]
    assert sorted(store.read_sources(uri)) == ["one", "two"]
    assert len(objects(uri)) == 2


def test_copies_in_two_sources_share_a_group_in_a_bucket_as_in_a_folder(bucket, tmp_path):
    for place in (tmp_path, bucket.uri("clips")):
        write(place, [row("one", 0, 0), row("one", 1, 1)], "one")
        write(place, [row("aaa", 0, 0)], "aaa")
        index = store.read_index(place)
        assert dict(zip(index["clip"].to_pylist(), index["group"].to_pylist(), strict=True)) == {
            "aaa/c0": "aaa/p0",
            "one/c0": "aaa/p0",
            "one/c1": "one/p1",
        }
        assert len(objects(place)) == 2


def test_a_failed_write_leaves_a_bucket_as_it_was(bucket):
    uri = bucket.uri("clips")
    write(uri, [row("test", 0, 0)])
    before = objects(uri), store.read_index(uri)
    with pytest.raises(SchemaError):
        write(uri, [row("test", 1, 1), {**row("test", 2, 2), "severity": 9}])
    assert (objects(uri), store.read_index(uri)) == before


def test_a_shard_that_a_bucket_does_not_name_is_not_of_the_store_and_goes_with_the_next(bucket):
    uri = bucket.uri("clips")
    write(uri, [row("test", 0, 0)])
    filesystem, path = paths.open_filesystem(uri)
    filesystem.copy_file(f"{path}/clips/test-00000.parquet", f"{path}/clips/test-00001.parquet")
    assert store.read_index(uri)["clip"].to_pylist() == ["test/c0"]
    write(uri, [row("test", 3, 3)])
    assert store.read_index(uri)["clip"].to_pylist() == ["test/c3"]
    assert objects(uri) == ["test-00002.parquet"]


def test_a_shard_that_is_named_and_gone_is_told(bucket):
    uri = bucket.uri("clips")
    write(uri, [row("one", 0, 0)], "one")
    write(uri, [row("two", 0, 1)], "two")
    filesystem, path = paths.open_filesystem(uri)
    filesystem.delete_file(f"{path}/clips/one-00000.parquet")
    with pytest.raises(StoreError, match=r"shard one-00000\.parquet is not there"):
        store.read_index(uri)


def test_the_second_of_two_writers_at_once_is_refused_and_nothing_is_lost(bucket):
    uri = bucket.uri("clips")
    write(uri, [row("one", 0, 0)], "one")
    with (  # noqa: PT012
        pytest.raises(StoreError, match="another ingest has written here meanwhile"),
        store.stage_source(uri, "three") as work,
        store.Writer(work.folder, "three") as writer,
    ):
        write(uri, [row("two", 0, 1)], "two")
        writer.add(row("three", 0, 2))
    assert store.read_index(uri)["clip"].to_pylist() == ["one/c0", "two/c0"]


UPLOAD = """
import sys
from lus_ray.store import writing
from tests.data.store.test_remote_store import row, write
writing.SHARD_BYTES = writing.GROUP_CLIPS = 0
write(sys.argv[1], [row("test", number, 100 + number) for number in range(60)])
"""


@pytest.mark.full
def test_a_writer_that_is_killed_as_it_uploads_leaves_the_earlier_store(bucket):
    uri = bucket.uri("clips")
    write(uri, [row("test", 0, 0), row("test", 1, 1)])
    before = store.fingerprint(store.read_index(uri))
    writer = subprocess.Popen([sys.executable, "-c", UPLOAD, uri])
    while writer.poll() is None and len(objects(uri)) < 10:
        time.sleep(0.005)
    writer.send_signal(signal.SIGKILL)
    assert writer.wait() == -signal.SIGKILL
    assert 10 <= len(objects(uri)) < 60
    assert store.fingerprint(store.read_index(uri)) == before
    subprocess.run([sys.executable, "-c", UPLOAD, uri], check=True)
    assert store.read_index(uri).num_rows == len(objects(uri)) == 60


@pytest.mark.full
def test_a_first_upload_that_is_killed_is_no_store(bucket):
    uri = bucket.uri("clips")
    writer = subprocess.Popen([sys.executable, "-c", UPLOAD, uri])
    while writer.poll() is None and len(objects(uri)) < 10:
        time.sleep(0.005)
    writer.send_signal(signal.SIGKILL)
    assert writer.wait() == -signal.SIGKILL
    assert len(objects(uri)) >= 10
    with pytest.raises(StoreError, match="no clips here"):
        store.read_index(uri)


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shard")
    write(folder, [row("test", number, number, severity=number % 4) for number in range(6)])
    return store.list_shards(folder)[0].read_bytes()


def outcome(place):
    """What reading all of a store comes to: the hash of its clips, or that it is refused."""
    try:
        rows = [
            (row["clip"], row["severity"], frames_of(row).tobytes()) for row in store.read(place)
        ]
    except StoreError as error:
        return f"refused in {len(str(error).splitlines())} line"
    return hashlib.sha256(repr(rows).encode()).hexdigest()


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
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
    here, there = outcome(folder), outcome(bucket.copied(folder))
    assert here == there
    assert here == "refused in 1 line" or not here.startswith("refused")
