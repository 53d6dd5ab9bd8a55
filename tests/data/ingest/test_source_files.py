import os
from pathlib import Path, PurePosixPath

import pytest

from lus_ray.data.ingest.conflicts import drop_conflicts
from lus_ray.data.ingest.source_files import (
    MAX_NAMES,
    list_files,
    name_clips,
    relative_name,
    walk,
    write_rest,
)
from lus_ray.data.ledger import Ledger
from tests.rights import as_anybody


def names(paths, root):
    return [relative_name(path, root) for path in paths]


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_links_to_files_and_folders_are_followed_in_and_out_of_the_root(tmp_path):
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    touch(root / "a" / "1", elsewhere / "b" / "2", elsewhere / "3")
    (root / "b").symlink_to(elsewhere / "b")
    (root / "c").symlink_to("a")
    (root / "3").symlink_to(elsewhere / "3")
    found = walk(root)
    assert names(found.files, root) == ["3", "a/1", "b/2", "c/1"]
    assert not found.unreadable


def test_loops_of_links_end_and_are_named(tmp_path):
    touch(tmp_path / "a" / "1", tmp_path / "b" / "2")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "b").symlink_to("../b")
    (tmp_path / "b" / "a").symlink_to("../a")
    found = walk(tmp_path)
    assert names(found.files, tmp_path) == ["a/1", "a/b/2", "b/2", "b/a/1"]
    assert sorted(names(found.unreadable, tmp_path)) == ["a/b/a", "a/up", "b/a/b", "b/a/up"]
    assert all("a link to a folder that holds it" in why for why in found.unreadable.values())


def test_folders_that_multiply_by_links_are_bounded(tmp_path):
    for level in range(12):
        (tmp_path / f"{level}").mkdir()
        for link in "xyz":
            (tmp_path / f"{level}" / link).symlink_to(f"../{level + 1}")
    touch(tmp_path / "12" / "1")
    found = walk(tmp_path)
    assert len(found.files) == MAX_NAMES
    assert len(found.unreadable) < 13 * 3 * MAX_NAMES


def test_what_is_no_file_has_its_reason(tmp_path):
    touch(tmp_path / "closed" / "1", tmp_path / "barred" / "2")
    (tmp_path / "closed").chmod(0)
    (tmp_path / "barred").chmod(0o400)
    (tmp_path / "gone").symlink_to("nowhere")
    (tmp_path / "self").symlink_to("self")
    os.mkfifo(tmp_path / "pipe")
    with as_anybody():
        found = walk(tmp_path)
    assert found.files == []
    reasons = {relative_name(path, tmp_path): why for path, why in found.unreadable.items()}
    denied = "not readable: Permission denied"
    assert reasons.pop("gone").startswith("a link to a file that is not there")
    assert reasons == {
        "closed": denied,
        "barred/2": denied,
        "self": "not readable: Too many levels of symbolic links",
        "pipe": "neither a file nor a folder; remove it",
    }


def test_names_that_are_not_text_become_text_in_the_ledger(tmp_path):
    for name in (b"caf\xe9", b"two\nlines", "café".encode()):
        Path(os.fsdecode(bytes(tmp_path) + b"/" + name)).touch()
    found = names(walk(tmp_path).files, tmp_path)
    assert sorted(found) == [r"caf\xe9", "café", r"two\nlines"]
    "".join(found).encode()


def test_hidden_files_and_other_stores_are_not_offered(tmp_path):
    touch(tmp_path / "a", tmp_path / ".b", tmp_path / ".c" / "d", tmp_path / "s" / "store.json")
    assert names(list_files(tmp_path), tmp_path) == ["a"]
    assert len(walk(tmp_path).files) == 3


def test_a_file_that_is_read_by_another_name_or_vanished_has_a_row(tmp_path):
    touch(tmp_path / "raw" / "1.mp4", tmp_path / "gone.mp4")
    (tmp_path / "clip.mp4").symlink_to("raw/1.mp4")
    found, ledger = walk(tmp_path), Ledger(unlisted="no row")
    (tmp_path / "gone.mp4").unlink()
    write_rest(found, [tmp_path / "clip.mp4"], "x", ledger)
    assert {entry.item: (entry.action, entry.reason) for entry in ledger.entries} == {
        "gone.mp4": ("skipped", "not readable: No such file or directory"),
        "raw/1.mp4": ("noted", "the same file as 'clip.mp4', which is stored"),
    }


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ("a.png b.png", "a b"),
        ("a.png a.gif b.png", "a.png a.gif b"),
        ("a.png a", "a.png a"),
        ("a.b.png a.b a", "a.b.png a.b a"),  # "a.b" is the name of another file
        ("x/a.png y/a.png", "x/a y/a"),
    ],
)
def test_no_two_clips_get_one_name(files, expected):
    paths = [PurePosixPath(file) for file in files.split()]
    assert list(name_clips(paths, [str(p.with_suffix("")) for p in paths])) == expected.split()


@pytest.fixture
def drop(tmp_path):
    """`drop("PATIENT FILE [CLIP]", ...)` gives the files kept, and the reasons of the others."""
    touch(tmp_path / "root" / "a" / "1", tmp_path / "out")
    (tmp_path / "root" / "link").symlink_to("a")
    for name in ("x", "y"):
        (tmp_path / "root" / name).symlink_to("../out")
    os.link(tmp_path / "root" / "a" / "1", tmp_path / "root" / "hard")

    def run(*texts):
        root, ledger, items = tmp_path / "root", Ledger(), []
        for patient, file, *clip in map(str.split, texts):
            items.append({"patient": patient, "file": root / file, "clip": (clip or [file])[0]})
        kept = drop_conflicts(items, root, "s", ledger)
        reasons = {entry.item: entry.reason for entry in ledger.entries}
        return names([item["file"] for item in kept], root), reasons

    return run


def test_a_link_beside_its_file_is_skipped_whatever_its_patient(drop):
    kept, reasons = drop("link link/1", "a a/1")
    assert kept == ["a/1"]
    assert reasons == {"link/1": "the same file as 'a/1', which is read; remove it"}


def test_two_links_to_one_file_are_kept_once_or_refused_for_two_patients(drop):
    assert drop("p x", "p y")[0] == ["x"]
    kept, reasons = drop("p x", "q y", "a a/1")
    assert kept == ["a/1"]
    assert reasons["x"].startswith("the same file as 'y', which belongs to another patient")
    assert set(reasons) == {"x", "y"}


def test_hard_links_are_copies_which_the_leak_gate_joins(drop):
    assert drop("p a/1", "q hard")[0] == ["a/1", "hard"]


def test_all_clips_of_one_name_are_refused(drop):
    kept, reasons = drop("p a/1 same", "p x same", "q y other")
    assert kept == ["y"]
    assert reasons["a/1"] == "another file has the clip name 'same' too: x; rename one"
    assert set(reasons) == {"a/1", "x"}
