"""What `lus check` says of a store: counts, copies, damage, and a page that stands alone."""

import json

import numpy as np
import pytest

from lus_ray import clip
from lus_ray.data import store
from lus_ray.data.check import check_store, write_page
from lus_ray.data.duplicates.groups import assign_groups, compute_signature
from lus_ray.data.ledger import Ledger
from lus_ray.errors import StoreError
from tests.planted import tissue

RNG = np.random.default_rng(0)


def add(place, source: str, rows: list[dict]) -> None:
    """Write clips with three frames of noise, or with the frames given."""
    with store.Writer(place, source) as writer:
        for number, row in enumerate(rows):
            frames = row.pop("frames", None)
            if frames is None:
                frames = RNG.integers(0, 256, (3, 40, 60), np.uint8)
            patient = f"{source}/{row.pop('patient')}"
            writer.add(
                clip.make_row(
                    frames, clip=f"{source}/{number}", patient=patient, source=source, **row
                )
            )


@pytest.fixture
def small(tmp_path):
    """Four clips of three patients in one source."""
    judged = [1, 0, *[-1] * 36]
    add(
        tmp_path,
        "a",
        [
            {"patient": "1", "severity": 0, "probe": "convex", "biomarkers": judged},
            {"patient": "1", "severity": 0, "probe": "convex", "sf_ratio": 431.0},
            {"patient": "2", "severity": 3, "disease": "healthy"},
            {"patient": "3"},
        ],
    )
    return tmp_path


def test_counts_are_of_clips_and_of_patients(small):
    found = check_store(small)
    assert (found.num_clips, found.num_patients, found.num_groups, found.num_frames) == (
        4,
        3,
        3,
        12,
    )
    assert found.counts["source"] == {"a": (4, 3)}
    assert found.counts["severity"] == {"0": (2, 1), "3": (1, 1), "not annotated": (1, 1)}
    assert found.counts["probe"] == {"convex": (2, 1), "not annotated": (2, 2)}
    assert found.counts["S/F class"] == {"> 430": (1, 1), "not annotated": (3, 3)}
    assert found.counts["disease"] == {"healthy": (1, 1), "not annotated": (3, 2)}
    assert found.sizes == {"40 x 60": (4, 3)}


def test_biomarkers_that_nobody_judged_are_not_counted(small):
    assert check_store(small).biomarkers == {"A-lines: none": (1, 0, 1), "A-lines: weak": (0, 1, 1)}


def test_findings_are_json_values(small):
    found = json.loads(json.dumps(check_store(small).contents()))
    assert found["counts"]["severity"]["3"] == [1, 1]
    assert "examples" not in found


def test_labels_of_few_patients_are_pointed_out(small):
    assert (
        "severity '3' is in few patients (1): folds may lack it" in check_store(small).suggestions
    )


def test_copies_across_patients_are_listed_with_the_labels_that_differ(tmp_path):
    film = tissue(0)
    same = {"frames": film, "signature": compute_signature(film)}
    add(tmp_path, "a", [{"patient": "1", "severity": 0, **same}])
    add(tmp_path, "b", [{"patient": "9", "severity": 2, **same}])
    found = check_store(tmp_path)
    assert [(p.one, p.other, p.conflicts) for p in found.pairs] == [("a/0", "b/0", ("severity",))]
    assert "a/0 = b/0 (equal pixels, 1.00; labels differ: severity)" in found.text()
    assert "1 pairs of copies carry different labels" in found.text()


def test_copies_in_different_groups_are_loose_until_they_are_joined(tmp_path):
    same = RNG.integers(0, 256, (3, 40, 60), np.uint8)
    add(tmp_path, "a", [{"patient": "1", "frames": same}, {"patient": "2"}])
    add(tmp_path, "b", [{"patient": "9", "frames": same}])
    assert check_store(tmp_path).loose == ("a/0", "b/0")
    assign_groups(tmp_path)
    assert check_store(tmp_path).loose == ()


@pytest.mark.parametrize("place", [0.02, 0.3, 0.6, 0.95, 1.0])
def test_a_damaged_shard_is_named_and_the_others_are_counted(small, place):
    add(small, "b", [{"patient": "9", "severity": 1}])
    shard = small / "clips" / "b-00000.parquet"
    data = bytearray(shard.read_bytes())
    at = min(int(place * len(data)), len(data) - 1)
    data[at] ^= 0xFF
    shard.write_bytes(data)
    found = check_store(small)
    assert list(found.damaged) == ["b-00000.parquet"]
    assert found.counts["source"] == {"a": (4, 3)}
    assert "b-00000.parquet cannot be read: ingest source 'b' again" in found.text()


def test_a_store_whose_every_shard_is_damaged_is_refused(small):
    (small / "clips" / "a-00000.parquet").write_bytes(b"PAR1")
    with pytest.raises(StoreError, match="none of 1 shards can be read"):
        check_store(small)


def test_a_folder_without_clips_is_refused(tmp_path):
    with pytest.raises(StoreError, match="no clips here"):
        check_store(tmp_path)


def test_the_ledger_and_the_policy_for_missing_patients_are_reported(small):
    ledger = Ledger()
    for item in ("x.mp4", "y.mp4"):
        ledger.skip("a", item, "the file is empty")
    ledger.write(small / "ledger.jsonl", source="a")
    store.record_source(small, "a", {"missing_patient": "own"})
    found = check_store(small)
    assert found.ledger == (("a", "skipped", "the file is empty", 2),)
    assert found.policies == {"a": "own"}
    assert "2 items were skipped: their reasons are in ledger.jsonl" in found.suggestions
    assert any("a patient of its own" in line for line in found.suggestions)


def test_the_page_shows_one_frame_a_patient_and_loads_nothing(small):
    found = check_store(small)
    shown = [(e.source, e.severity, e.clip) for e in found.examples]
    assert shown == [("a", "0", "a/0"), ("a", "3", "a/2"), ("a", "not graded", "a/3")]
    page = write_page(found, small)
    assert page == small / "check.html"
    text = page.read_text()
    assert text.count('src="data:image/png;base64,') == 3
    assert "http" not in text
    assert "<script" not in text


def test_names_on_the_page_are_escaped(tmp_path):
    frames = RNG.integers(0, 256, (1, 20, 20), np.uint8)
    name = "a/<script>alert(1)</script>"
    with store.Writer(tmp_path, "a") as writer:
        writer.add(clip.make_row(frames, clip=name, patient="a/1", source="a", domain='"><b>'))
    text = write_page(check_store(tmp_path), tmp_path).read_text()
    assert "<script" not in text
    assert "<b>" not in text
    assert "&lt;script&gt;" in text


def test_checking_changes_no_shard(small):
    before = {path: path.read_bytes() for path in store.list_shards(small)}
    write_page(check_store(small), small)
    assert {path: path.read_bytes() for path in store.list_shards(small)} == before
