"""Frames of a store as files of a machine: the same as in memory, made once, and of these clips."""

import multiprocessing
import resource
import shutil
from pathlib import Path

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
SIZES = {size_of(view) for view in VIEWS}


def made(folder: Path) -> Path:
    """Clips of six patients, of which every other one has masks."""
    ingest("phantom", None, folder, patients=6, clips=2, frames=3, size=64)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return made(tmp_path_factory.mktemp("mapped") / "store")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LUS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_mapped_frames_and_masks_are_those_of_the_store(data):
    found = memmap.attach(memmap.plan_files(data, SIZES, SIZES))
    rows = list(store.read(data))
    for view in VIEWS:
        frames = found.clips(rows, view)
        masks = found.masks(rows, view)
        for row, one, ids in zip(rows, frames, masks, strict=True):
            assert one.dtype == np.uint8
            assert np.array_equal(one, view.resize(frames_of(row)))
            assert np.array_equal(ids, view.resize_masks(masks_of(row)))


def test_files_are_made_once_and_again_for_other_clips(data, tmp_path, cache):
    there = shutil.copytree(data, tmp_path / "store", copy_function=shutil.copy2)
    first = memmap.plan_files(there, SIZES, set())
    memmap.attach(first)
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*.*")}
    assert {path.suffix for path in before} >= {".raw", ".json"}
    memmap.attach(memmap.plan_files(there, SIZES, set()))
    assert {path: path.stat().st_mtime_ns for path in before} == before
    ingest("phantom", None, there, patients=3, clips=1, frames=3, size=64)
    second = memmap.plan_files(there, SIZES, set())
    assert second.key != first.key
    assert len(memmap.attach(second).frames[size_of(VIEWS[0])]) == 3


def test_what_a_killed_process_left_is_made_anew(data, cache):
    files = memmap.plan_files(data, {size_of(VIEWS[0])}, set())
    folder = memmap.cache_folder(files)
    folder.mkdir(parents=True)
    left = folder / ".frames-24x32.raw.123"
    left.write_bytes(b"half")
    (folder / "frames-24x32.raw").write_bytes(b"whole, but its list is missing")
    found = memmap.attach(files)
    assert not left.exists()
    assert len(found.frames[size_of(VIEWS[0])]) == 12


def attached(files, results):
    found = memmap.attach(files)
    results.put({clip: int(pixels.sum()) for clip, pixels in found.frames[files.frames[0]].items()})


def test_two_processes_that_come_at_once_have_the_same_frames(data):
    files = memmap.plan_files(data, {size_of(VIEWS[0])}, set())
    spawn = multiprocessing.get_context("spawn")
    results = spawn.Queue()
    both = [spawn.Process(target=attached, args=(files, results)) for _ in range(2)]
    for process in both:
        process.start()
    one, other = results.get(timeout=120), results.get(timeout=120)
    for process in both:
        process.join()
    assert one == other
    assert len(one) == 12


def test_without_room_nothing_is_begun(data, monkeypatch):
    files = memmap.plan_files(data, {size_of(VIEWS[0])}, set())
    assert memmap.has_room(files, 10_000)
    monkeypatch.setattr(memmap, "SPARE_BYTES", 1 << 60)
    assert not memmap.has_room(files, 10_000)
    memmap.write_missing(files)
    assert memmap.has_room(files, 10_000)  # what is there needs none


def filled(files, results):
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))  # as a disk that ends there
    try:
        memmap.write_missing(files)
    except CellError as error:
        results.put(str(error))


def test_a_disk_that_fills_meanwhile_is_told_of_in_one_line_and_leaves_nothing(data):
    files = memmap.plan_files(data, {size_of(VIEWS[1])}, set())
    spawn = multiprocessing.get_context("spawn")
    results = spawn.Queue()
    process = spawn.Process(target=filled, args=(files, results))
    process.start()
    told = results.get(timeout=120)
    process.join()
    assert "frames could not be kept there (File too large); make room, or set LUS_CACHE" in told
    assert "\n" not in told
    assert {path.name for path in memmap.cache_folder(files).iterdir()} == {".lock"}
