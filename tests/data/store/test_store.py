import errno
import fcntl
import json
import shutil
from unittest.mock import Mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lus_ray.clip import SCHEMA, frames_of, make_row
from lus_ray.data import store
from lus_ray.errors import LusError, SchemaError, StoreError
from lus_ray.storage import paths


def row(name, patient="p0", value=0, source="test", num_frames=3, **columns):
    frames = np.full((num_frames, 8, 8), value, np.uint8)
    who = {"clip": f"{source}/{name}", "patient": f"{source}/{patient}", "source": source}
    return make_row(frames, **who, **columns)


def write(path, rows, source="test"):
    with store.stage_source(path, source) as work, store.Writer(work.folder, source) as writer:
        for clip in rows:
            writer.add(clip)
    return path


def fingerprint(path):
    return store.fingerprint(store.read_index(path))


ROWS = [row(f"c{n}", f"p{n // 2}", n, severity=n % 4) for n in range(10)]


@pytest.fixture
def clips(tmp_path):
    return write(tmp_path / "clips", ROWS)


@pytest.fixture(params=["folder", "bucket"])
def local_or_remote(request, tmp_path):
    """The same store in a folder or on object storage."""
    bucket = request.param == "bucket" and request.getfixturevalue("bucket")
    return write(bucket.uri("clips") if bucket else tmp_path / "clips", ROWS)


@pytest.fixture(params=["folder", "bucket"])
def published(request):
    """A function from a folder to the store in it, or to its copy on object storage."""
    bucket = request.param == "bucket" and request.getfixturevalue("bucket")
    return bucket.copied if bucket else lambda folder: folder


def test_clips_are_read_in_the_order_requested_and_an_unknown_one_is_named(clips):
    names = ["test/c7", "test/c0", "test/c9", "test/c1"]
    rows = list(store.read(clips, names))
    assert [r["clip"] for r in rows] == names
    assert [frames_of(r)[0, 0, 0] for r in rows] == [7, 0, 9, 1]
    assert list(store.read(clips, [])) == []
    with pytest.raises(StoreError, match="test/c99"):
        list(store.read(clips, ["test/c99"]))


def test_shards_have_the_schema_and_the_index_leaves_their_pixels_on_disk(clips):
    (shard,) = store.list_shards(clips)
    assert pq.read_schema(shard).equals(SCHEMA)
    assert pq.ParquetFile(shard).metadata.row_group(0).column(0).compression == "LZ4"
    index = store.read_index(clips)
    assert index.num_rows == 10
    assert "frames" not in index.column_names
    assert store.count_frames(clips) == 30


def test_frames_are_counted_by_clip_in_row_groups_of_one_clip_and_of_several(tmp_path, monkeypatch):
    numbers = (1, 5, 30, 7, 2)
    for clips_per_group, num_groups in ((4, 2), (1, 5)):
        monkeypatch.setattr(store.writing, "GROUP_CLIPS", clips_per_group)
        rows = [row(f"c{n}", num_frames=n) for n in numbers]
        path = write(tmp_path / str(num_groups), rows)
        assert pq.ParquetFile(store.list_shards(path)[0]).num_row_groups == num_groups
        assert store.count_frames_by_clip(path) == {f"test/c{n}": n for n in numbers}


def test_a_shard_has_a_bounded_number_of_row_groups(tmp_path, monkeypatch):
    monkeypatch.setattr(store.writing, "GROUP_CLIPS", 1)
    monkeypatch.setattr(store.writing, "SHARD_GROUPS", 2)
    path = write(tmp_path, [row(f"c{n}", value=n) for n in range(5)])
    sizes = [pq.ParquetFile(shard).num_row_groups for shard in store.list_shards(path)]
    assert sizes == [2, 2, 1]
    assert [frames_of(clip)[0, 0, 0] for clip in store.read(path)] == [0, 1, 2, 3, 4]


@pytest.mark.slow
def test_frames_that_cannot_be_counted_name_the_shard_in_one_line(tmp_path, published):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32), np.uint8)
    who = {"patient": "test/p", "source": "test"}
    rows = [make_row(frames, clip=f"test/c{n}", **who) for n, frames in enumerate(pixels)]
    (shard,) = store.list_shards(write(tmp_path, rows))
    some = pixels[1, 1].tobytes()[:64]
    assert some in shard.read_bytes()
    shard.write_bytes(shard.read_bytes().replace(some, bytes(64)))
    path = published(tmp_path)
    assert store.read_index(path).num_rows == 2
    with pytest.raises(StoreError, match=rf"{shard.name}[^\n]*$"):
        store.count_frames_by_clip(path)


def test_a_failed_write_leaves_the_store_as_it_was(local_or_remote):
    path, folder = local_or_remote, paths.join(local_or_remote, "clips")
    before = fingerprint(path), paths.list_files(folder)
    with pytest.raises(SchemaError):
        write(path, [row("new"), {**row("bad"), "severity": 9}])
    assert (fingerprint(path), paths.list_files(folder)) == before


def test_reading_a_source_again_replaces_it_and_keeps_the_others(clips):
    write(clips, [row("x", source="other")], source="other")
    counts = {f"test/c{n}": 3 for n in range(10)}
    assert store.count_frames_by_clip(clips) == {**counts, "other/x": 3}
    write(clips, [row("only")])
    assert store.read_index(clips)["clip"].to_pylist() == ["other/x", "test/only"]


def test_a_second_ingest_into_one_store_is_refused_and_the_first_goes_on(clips):
    with store.stage_source(clips, "other") as work, store.Writer(work.folder, "other") as writer:
        with pytest.raises(StoreError, match="another ingest is writing here; wait for it"):
            write(clips, [row("c0")])
        writer.add(row("x", source="other"))
    assert store.read_index(clips).num_rows == 11


def test_of_two_ingests_where_nothing_locks_the_later_one_is_refused(local_or_remote, monkeypatch):
    no_locks = Mock(side_effect=OSError(errno.ENOLCK, "No locks available"))
    monkeypatch.setattr(fcntl, "flock", no_locks)
    with (  # noqa: PT012
        pytest.raises(StoreError, match="another ingest has written here meanwhile"),
        store.stage_source(local_or_remote, "three") as work,
        store.Writer(work.folder, "three") as writer,
    ):
        write(local_or_remote, [row("x", source="two")], "two")
        writer.add(row("x", source="three"))
    assert store.read_index(local_or_remote)["clip"].to_pylist()[9:] == ["test/c9", "two/x"]


def test_a_store_of_an_earlier_version_that_names_no_shards_has_all_shards(clips):
    (clips / "store.json").write_text('{"schema": 1, "sources": {"test": {}}}')
    assert store.read_index(clips).num_rows == 10
    write(clips, [row("x", source="other")], source="other")
    assert store.read_index(clips).num_rows == 11
    assert sorted(store.read_sources(clips)) == ["test"]


def test_a_full_disk_is_named_with_its_folder_and_leaves_nothing(tmp_path):
    error = OSError(errno.ENOSPC, "No space left on device")
    reason = f"^{tmp_path / 'store'}: no space left for these clips; free some$"
    with pytest.raises(LusError, match=reason), store.stage_source(tmp_path / "store", "x"):
        raise error
    assert not list(tmp_path.iterdir())


def test_patients_must_come_one_after_another_and_names_once(tmp_path):
    with pytest.raises(StoreError, match="returns"):
        write(tmp_path, [row("a", "p0"), row("b", "p1"), row("c", "p0")])
    with pytest.raises(StoreError, match="twice"):
        write(tmp_path, [row("a"), row("a")])


def test_the_fingerprint_depends_on_labels_and_pixels_but_not_on_the_layout(tmp_path, monkeypatch):
    rows = [row(f"c{n}", value=n) for n in range(6)]
    first = fingerprint(write(tmp_path / "one", rows))
    monkeypatch.setattr(store.writing, "GROUP_CLIPS", 1)
    assert fingerprint(write(tmp_path / "two", rows)) == first
    rows[3] = row("c3", value=3, severity=1)
    assert fingerprint(write(tmp_path / "three", rows)) != first


def test_new_groups_are_written_without_touching_the_pixels(clips):
    assert store.replace_groups(clips, {"test/c2": "test/p0", "test/c3": "test/p0"}) == 1
    assert store.replace_groups(clips, {"test/c2": "test/p0"}) == 0
    rows = {r["clip"]: r for r in store.read(clips)}
    assert rows["test/c2"]["group"] == "test/p0"
    assert frames_of(rows["test/c3"])[0, 0, 0] == 3


def test_other_files_beside_the_shards_are_ignored(clips, published):
    (clips / "clips" / "_SUCCESS").write_text("")
    assert store.read_index(published(clips)).num_rows == 10


def test_a_clip_that_is_in_two_shards_is_refused_by_name(clips, published):
    (shard,) = store.list_shards(clips)
    (clips / "store.json").unlink()
    shutil.copy(shard, shard.with_name("test-00007.parquet"))
    with pytest.raises(StoreError, match="clip 'test/c0' is there twice"):
        store.read_index(published(clips))


@pytest.mark.parametrize("where", [0.02, 0.5, 0.98])
def test_a_damaged_shard_is_named_in_one_line(clips, where):
    (shard,) = store.list_shards(clips)
    data = bytearray(shard.read_bytes())
    start = int(len(data) * where)
    data[start : start + 64] = bytes(64)
    shard.write_bytes(data)
    with pytest.raises(StoreError, match=rf"{shard.name}[^\n]*$"):
        list(store.read(clips))


def test_a_shard_that_stays_open_is_verified_when_it_is_first_read(clips):
    (shard,) = store.list_shards(clips)
    opened = store.OpenShard(shard)
    first, again = (opened.read_row_group(0, SCHEMA.names) for _ in range(2))
    assert first == again
    data = bytearray(shard.read_bytes())
    data[len(data) // 50 : len(data) // 50 + 64] = bytes(64)
    shard.write_bytes(data)
    with pytest.raises(OSError, match="CRC"):
        store.OpenShard(shard).read_row_group(0, SCHEMA.names)


def replace_column(clips, name, make):
    """Write the only shard again with another column of this name."""
    (shard,) = store.list_shards(clips)
    table = pq.read_table(shard)
    column = table.schema.get_field_index(name)
    pq.write_table(table.set_column(column, name, make(table[name])), shard)


def test_a_file_of_another_schema_is_refused_by_column(clips, published):
    replace_column(clips, "severity", lambda column: column.cast("int64"))
    with pytest.raises(StoreError, match="'severity' is int64"):
        store.read_index(published(clips))


class Hostile(pa.ExtensionType):
    """An extension type that records when Arrow makes it from a file."""

    called = False

    def __init__(self):
        super().__init__(pa.binary(), "test.hostile")

    def __arrow_ext_serialize__(self):
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage, serialized):
        cls.called = True
        return cls()


def test_an_extension_type_in_a_file_is_refused_and_its_code_never_runs(clips, published):
    pa.register_extension_type(Hostile())
    try:
        hostile = pa.ExtensionArray.from_storage(Hostile(), pa.array([b"x"] * 10))
        replace_column(clips, "sha256", lambda _: hostile)
        Hostile.called = False
        with pytest.raises(StoreError, match="extension types"):
            store.read_index(published(clips))
        assert not Hostile.called
    finally:
        pa.unregister_extension_type("test.hostile")


def test_how_sources_were_read_is_recorded_by_source(tmp_path):
    store.record_source(tmp_path, "a", {"policy": "own"})
    store.record_source(tmp_path, "b", {"seed": 1})
    assert store.read_sources(tmp_path) == {"a": {"policy": "own"}, "b": {"seed": 1}}
    assert json.loads((tmp_path / "store.json").read_text())["schema"] == 1
