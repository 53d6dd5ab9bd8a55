import csv
import os

import pytest

from lus_ray.clip import BIOMARKERS
from lus_ray.data.ingest import folder
from lus_ray.data.ingest.label_template import WRITTEN, describe_columns, write_template
from lus_ray.data.ledger import Ledger
from lus_ray.errors import InputError, SourceError


@pytest.fixture
def root(tmp_path):
    for name in ("p1/a.mp4", "p2/\u00e4 b.avi", "p2/still.png", "notes.txt", ".hidden/c.mp4"):
        path = tmp_path / "own" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "own"


def test_the_table_lists_every_clip_and_is_read_as_it_is(root):
    written = write_template(root)
    assert (written.num_files, written.num_folders, written.has_patients) == (3, 2, False)
    assert "if each of the 2 folders is one person" in written.text()
    rows = list(csv.DictReader((root / "labels.csv").open(encoding="utf-8-sig")))
    assert [row.pop("file") for row in rows] == ["p1/a.mp4", "p2/still.png", "p2/\u00e4 b.avi"]
    assert all(row == dict.fromkeys(WRITTEN[1:], "") for row in rows)
    ledger = Ledger()
    clips = list(folder.clips(root, ledger))
    assert [clip["patient"] for clip in clips] == [None] * 3
    assert not ledger.entries
    assert root / "labels.txt" in ledger.used


def test_each_folder_is_a_patient_where_the_caller_says_so(root):
    write_template(root, patient_folders=True)
    clips = folder.clips(root, Ledger())
    assert [clip["patient"] for clip in clips] == ["folder/p1", "folder/p2", "folder/p2"]
    (root / "labels.csv").unlink()
    (root / "loose.mp4").touch()
    with pytest.raises(InputError, match=r"'loose\.mp4' lies in no folder"):
        write_template(root, patient_folders=True)


def test_a_table_is_never_overwritten(root):
    (root / "labels.csv").write_text("mine")
    with pytest.raises(InputError, match="exists and is not overwritten"):
        write_template(root)
    assert (root / "labels.csv").read_text() == "mine"
    assert not (root / "labels.txt").exists()


def test_another_text_of_the_name_of_the_guide_is_not_overwritten(root):
    (root / "labels.txt").write_text("mine")
    with pytest.raises(InputError, match=r"labels\.txt: exists and is no guide"):
        write_template(root)
    assert (root / "labels.txt").read_text() == "mine"
    assert not (root / "labels.csv").exists()


def test_a_folder_without_clips_is_refused_and_a_name_that_no_cell_holds_is_named(root, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="no image and no video"):
        write_template(tmp_path / "empty")
    with pytest.raises(SourceError, match="no such folder"):
        write_template(tmp_path / "nowhere")
    (root / "two\nlines.mp4").touch()
    (root / os.fsdecode(b"\xe4.mp4")).touch()
    written = write_template(root)
    assert written.num_files == 3
    assert written.unlisted == (r"two\nlines.mp4", r"\xe4.mp4")
    assert "and 1 more; give them plain names" in written.text()


def test_the_guide_explains_every_column_and_every_disease():
    guide = " ".join(describe_columns().split())
    for text in (*folder.COLUMNS, *BIOMARKERS, *folder.CLASSES["disease"], "--classes"):
        assert text in guide
    assert set(WRITTEN) <= set(folder.COLUMNS)
