import os

import numpy as np
import pytest

from lus_ray import clip
from lus_ray.data import store
from lus_ray.errors import InputError
from lus_ray.inference.clip_inputs import find_inputs
from lus_ray.inference.example_clip import make_example

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two clips in a folder, one below it, and files that are none."""
    monkeypatch.chdir(tmp_path)
    for name in ("scans/b.png", "scans/a.png", "scans/more/c"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(PNG)
    for name in ("labels.csv", ".hidden.png", "more/Thumbs.db"):
        (tmp_path / "scans" / name).write_text("no clip")
    (tmp_path / "scans" / "gone.png").symlink_to("nowhere")
    return tmp_path


@pytest.mark.parametrize(
    ("sources", "names"),
    [
        (["scans/b.png"], ["scans/b.png"]),
        (["scans/b.png", "scans/a.png"], ["scans/b.png", "scans/a.png"]),
        (["scans"], ["scans/a.png", "scans/b.png", "scans/gone.png", "scans/more/c"]),
        (["scans/*.png"], ["scans/a.png", "scans/b.png", "scans/gone.png"]),
        (["scans/**/c", "scans/b.png"], ["scans/more/c", "scans/b.png"]),
        (["scans/b.png", "scans/b.png", "scans/[ab].png"], ["scans/b.png", "scans/a.png"]),
    ],
)
def test_files_folders_and_patterns_give_clips_in_a_fixed_order(folder, sources, names):
    found = find_inputs(sources)
    assert [item.clip for item in found.clips] == names


def test_files_of_a_folder_that_are_no_clips_are_named(folder):
    assert sorted(map(str, find_inputs(["scans"]).ignored)) == [
        "scans/labels.csv", "scans/more/Thumbs.db",
    ]  # fmt: skip


def test_a_store_gives_its_clips_with_patients_and_hashes(tmp_path):
    frames = np.zeros((2, 16, 16), np.uint8)
    with store.Writer(tmp_path, "own") as writer:
        for patient, name in (("own/p2", "own/x"), ("own/p1", "own/y")):
            writer.add(clip.make_row(frames, clip=name, patient=patient, source="own"))
    store.record_source(tmp_path, "own", {})
    found = find_inputs([tmp_path]).clips
    assert [(item.clip, item.patient) for item in found] == [
        ("own/x", "own/p2"), ("own/y", "own/p1"),
    ]  # fmt: skip
    assert {item.state for item in found} == {clip.hash_pixels(frames)}
    assert [item.store for item in found] == [tmp_path, tmp_path]


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("none.mp4", "neither a file nor a folder"),
        ("none/*.mp4", "no file matches"),
        ("empty", "holds no image and no video"),
    ],
)
def test_a_source_without_a_clip_is_refused(tmp_path, monkeypatch, source, problem):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=problem):
        find_inputs([source])


def test_the_state_of_a_file_changes_with_its_content(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(make_example())
    (before,) = find_inputs([path]).clips
    os.utime(path, ns=(0, 1_000_000_000))
    (after,) = find_inputs([path]).clips
    assert before.key == after.key
    assert before.state != after.state
