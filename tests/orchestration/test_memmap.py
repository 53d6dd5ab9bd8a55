"""Frames of a store as files of a machine: equal to the store, written once, for these clips."""

import multiprocessing
import resource
import shutil

import numpy as np
import pytest

from lus_ray.clip import frames_of, masks_of
from lus_ray.data import store
from lus_ray.data.ingest.pipeline import ingest
from lus_ray.data.loading import memmap
from lus_ray.data.loading.batches import size_of
from lus_ray.data.transforms.view import View
from lus_ray.errors import CellError

VIEWS = (
    View(num_frames=2, height=24, width=32, num_samples=1),
    View(num_frames=1, height=20, width=26, num_samples=0, aspect=1.3, bicubic=True),
)
SIZE = size_of(VIEWS[0])
SIZES = {size_of(view) for view in VIEWS}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Clips of six patients, of which every second one has masks."""
    folder = tmp_path_factory.mktemp("mapped") / "store"
    ingest("phantom", None, folder, patients=6, clips=2, frames=3, size=64)
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LUS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_mapped_frames_and_masks_are_those_of_the_store(data):
    mapped = memmap.attach(memmap.plan_files(data, SIZES, SIZES))
    rows = list(store.read(data))
    for view in VIEWS:
        pixels = zip(rows, mapped.clips(rows, view), mapped.masks(rows, view), strict=True)
        for row, frames, ids in pixels:
            assert frames.dtype == np.uint8
            assert np.array_equal(frames, view.resize(frames_of(row)))
            assert np.array_equal(ids, view.resize_masks(masks_of(row)))


def test_files_are_written_once_and_again_for_other_clips(data, tmp_path, cache):
    copy = shutil.copytree(data, tmp_path / "store", copy_function=shutil.copy2)
    first = memmap.plan_files(copy, SIZES, set())
    memmap.attach(first)
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*.*")}
    assert {path.suffix for path in before} >= {".raw", ".json"}
    memmap.attach(memmap.plan_files(copy, SIZES, set()))
    assert {path: path.stat().st_mtime_ns for path in before} == before
    ingest("phantom", None, copy, patients=3, clips=1, frames=3, size=64)
    second = memmap.plan_files(copy, SIZES, set())
    assert second.key != first.key
    assert len(memmap.attach(second).frames[SIZE]) == 3


@pytest.fixture
def files(data):
    """The planned files of one size."""
    return memmap.plan_files(data, {SIZE}, set())


def test_files_of_a_killed_process_are_written_again(files):
    folder = memmap.cache_folder(files)
    folder.mkdir(parents=True)
    unfinished = folder / ".frames-24x32.raw.123"
    unfinished.write_bytes(b"half")
    (folder / "frames-24x32.raw").write_bytes(b"whole, but its list is missing")
    assert len(memmap.attach(files).frames[SIZE]) == 12
    assert not unfinished.exists()


def sum_pixels(files):
    clips = memmap.attach(files).frames[files.frames[0]]
    return {clip: int(pixels.sum()) for clip, pixels in clips.items()}


@pytest.mark.slow
def test_two_processes_at_the_same_time_have_the_same_frames(files):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # both start at once, after one import
    with context.Pool(2) as pool:
        first, second = pool.map(sum_pixels, [files, files], chunksize=1)
    assert first == second
    assert len(first) == 12


def test_files_need_free_space_until_they_are_written(files, monkeypatch):
    assert memmap.has_room(files, 10_000)
    monkeypatch.setattr(memmap, "SPARE_BYTES", 1 << 60)
    assert not memmap.has_room(files, 10_000)
    memmap.write_missing(files)
    assert memmap.has_room(files, 10_000)


def test_a_full_disk_is_reported_in_one_line_and_nothing_is_left(files):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(CellError, match="cannot store frames") as refused:
            memmap.write_missing(files)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "(File too large); free disk space, or set LUS_CACHE" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert {path.name for path in memmap.cache_folder(files).iterdir()} == {".lock"}
