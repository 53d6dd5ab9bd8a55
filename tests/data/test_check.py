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
NOISE = RNG.integers(0, 256, (3, 40, 60), np.uint8)


def add(folder, source, *rows):
    """Write clips with three frames of noise, or with the frames given."""
    with store.Writer(folder, source) as writer:
        for number, row in enumerate(rows):
            frames = RNG.integers(0, 256, NOISE.shape, np.uint8)
            row = {"frames": frames, "clip": f"{source}/{number}", "source": source} | row
            writer.add(clip.make_row(**row | {"patient": f"{source}/{row['patient']}"}))


@pytest.fixture
def small(tmp_path):
    """Four clips of three patients in one source."""
    convex = {"patient": "1", "probe": "convex", "severity": 0}
    annotated = convex | {"biomarkers": [1, 0, *[-1] * 36]}
    sick = {"patient": "2", "severity": 3, "disease": "healthy"}
    add(tmp_path, "a", annotated, convex | {"sf_ratio": 431.0}, sick, {"patient": "3"})
    return tmp_path


def test_what_a_killed_ingest_left_is_named(small):
    assert not any("was killed" in line for line in check_store(small).suggestions)
    (small / ".writing-x").mkdir()
    assert any("was killed" in line for line in check_store(small).suggestions)


def test_counts_are_of_clips_and_of_patients(small):
    check = check_store(small)
    assert (check.num_clips, check.num_patients, check.num_groups, check.num_frames) == (
        4,
        3,
        3,
        12,
    )
    assert check.counts["source"] == {"a": (4, 3)}
    assert check.counts["severity"] == {"0": (2, 1), "3": (1, 1), "not annotated": (1, 1)}
    assert check.counts["probe"] == {"convex": (2, 1), "not annotated": (2, 2)}
    assert check.counts["S/F class"] == {"> 430": (1, 1), "not annotated": (3, 3)}
    assert check.counts["disease"] == {"healthy": (1, 1), "not annotated": (3, 2)}
    assert check.sizes == {"40 x 60": (4, 3)}
    assert check.biomarkers == {"A-lines: none": (1, 0, 1), "A-lines: weak": (0, 1, 1)}
    assert "severity '3' is in few patients (1): folds may lack it" in check.suggestions
    contents = json.loads(json.dumps(check.contents()))
    assert contents["counts"]["severity"]["3"] == [1, 1]
    assert "sheet" not in contents


def test_own_labels_and_demographics_are_counted_and_show_in_the_contact_sheet(tmp_path):
    about = {"site": "Ost", "device": "C5", "sex": "female", "age": 64.9, "bmi": 30}
    bad = {"patient": "1", "labels": {"quality": "bad"}, **about}
    viral = {"patient": "2", "disease": "other lung disease", "etiology": "viral"}
    add(tmp_path, "a", bad, {**bad, "sex": "male", "labels": None}, viral)
    kind = {"classes": ["good", "bad"], "ordered": True}
    store.record_source(tmp_path, "a", {"labels": {"quality": kind}})
    check = check_store(tmp_path)
    assert check.own_labels == ("quality",)
    values = {
        "quality": "bad",
        "site": "Ost",
        "age": "40-64",
        "bmi": "\u2265 30",
        "etiology": "viral",
    }
    assert {name: check.counts[name][value] for name, value in values.items()} == {
        "quality": (1, 1), "site": (2, 1), "age": (2, 1), "bmi": (2, 1), "etiology": (1, 1)
    }  # fmt: skip
    assert check.counts["quality"]["good"] == (0, 0)
    assert "quality 'good' is in few patients (0): folds may lack it" in check.suggestions
    contradiction = "patient 'a/1' is female and male: mend one, or give two names"
    assert contradiction in check.suggestions
    assert "patients  (own label)" in check.text()
    assert (check.sheet.title, check.sheet.classes) == ("quality", ("good", "bad", "not annotated"))
    assert [e.label for e in check.sheet.examples] == ["bad", "not annotated", "not annotated"]


def test_the_text_lists_the_most_frequent_values_of_a_column_and_the_contents_all(tmp_path):
    add(tmp_path, "a", *({"patient": "1", "site": f"s{number}"} for number in range(14)))
    check = check_store(tmp_path)
    assert "  and 2 more values with fewer clips" in check.text()
    assert len(check.counts["site"]) == 14


def test_copies_across_patients_are_listed_with_the_labels_that_differ(tmp_path):
    frames = tissue(0)
    same = {"frames": frames, "signature": compute_signature(frames)}
    own = {"view": "long", "quality": "good"}
    add(tmp_path, "a", {"patient": "1", "severity": 0, "labels": own, **same})
    add(tmp_path, "b", {"patient": "9", "severity": 2, "labels": {**own, "view": "x"}, **same})
    check = check_store(tmp_path)
    conflicts = ("severity", "view")
    assert [(p.one, p.other, p.conflicts) for p in check.pairs] == [("a/0", "b/0", conflicts)]
    assert "a/0 = b/0 (equal pixels, 1.00; labels differ: severity, view)" in check.text()
    assert "1 pairs of copies carry different labels" in check.text()


def test_copies_in_different_groups_are_loose_until_they_are_joined(tmp_path):
    add(tmp_path, "a", {"patient": "1", "frames": NOISE}, {"patient": "2"})
    add(tmp_path, "b", {"patient": "9", "frames": NOISE})
    assert check_store(tmp_path).loose == ("a/0", "b/0")
    assign_groups(tmp_path)
    assert check_store(tmp_path).loose == ()


def test_patients_in_several_spellings_are_listed_and_loose_until_they_are_joined(tmp_path):
    names = ("P-007", "P-07", "p-007", "P\u2011007", "Q")
    add(tmp_path, "a", *({"patient": name} for name in names))
    check = check_store(tmp_path)
    assert check.same_patients == (("a/P-007", "a/P\u2011007", "a/p-007"),)
    assert check.similar_patients == (("a/P-007", "a/P-07"),)
    assert check.loose == ("a/0", "a/2", "a/3")
    assign_groups(tmp_path)
    check = check_store(tmp_path)
    assert (check.loose, check.num_patients, check.num_groups) == ((), 5, 3)
    assert "patients joined by spelling: 1\n  a/P-007 = a/P\u2011007 = a/p-007" in check.text()
    assert "patients that may be one person: 1\n  a/P-007 = a/P-07" in check.text()


@pytest.mark.parametrize("where", [0.02, 0.3, 0.5, 0.95, 1.0])
def test_a_damaged_shard_is_named_and_the_others_are_counted(small, where):
    add(small, "b", {"patient": "9", "severity": 1})
    shard = small / "clips" / "b-00000.parquet"
    data = bytearray(shard.read_bytes())
    data[min(int(where * len(data)), len(data) - 1)] ^= 0xFF
    shard.write_bytes(data)
    check = check_store(small)
    assert list(check.damaged) == ["b-00000.parquet"]
    assert check.counts["source"] == {"a": (4, 3)}
    assert "b-00000.parquet cannot be read: ingest source 'b' again" in check.text()


def test_a_store_without_a_readable_shard_or_without_clips_is_refused(small, tmp_path_factory):
    (small / "clips" / "a-00000.parquet").write_bytes(b"PAR1")
    with pytest.raises(StoreError, match="none of 1 shards can be read"):
        check_store(small)
    with pytest.raises(StoreError, match="no clips here"):
        check_store(tmp_path_factory.mktemp("empty"))


def test_the_ledger_and_the_policy_for_missing_patients_are_reported(small):
    ledger = Ledger()
    for number in (2, 3):
        ledger.skip("a", f"{number}.mp4", f"labels.csv row {number}: the file is empty")
    ledger.write(small / "ledger.jsonl", source="a")
    store.record_source(small, "a", {"missing_patient": "own"})
    check = check_store(small)
    assert check.ledger == (("a", "skipped", "the file is empty", 2),)
    assert check.policies == {"a": "own"}
    assert "2 items were skipped: see ledger.jsonl" in check.suggestions
    assert any("a patient of its own" in line for line in check.suggestions)


def test_the_page_shows_one_frame_a_patient_loads_nothing_and_changes_no_shard(small):
    before = {path: path.read_bytes() for path in store.list_shards(small)}
    check = check_store(small)
    shown = [(e.source, e.label, e.clip) for e in check.sheet.examples]
    assert shown == [("a", "0", "a/0"), ("a", "3", "a/2"), ("a", "not annotated", "a/3")]
    page = write_page(check, small)
    assert page == small / "check.html"
    text = page.read_text()
    assert text.count('src="data:image/png;base64,') == 3
    assert "http" not in text
    assert "<script" not in text
    assert {path: path.read_bytes() for path in store.list_shards(small)} == before


def test_names_on_the_page_are_escaped(tmp_path):
    names = {"clip": "a/<script>alert(1)</script>", "domain": '"><b>'}
    add(tmp_path, "a", {"patient": "1", **names})
    text = write_page(check_store(tmp_path), tmp_path).read_text()
    assert "<script" not in text
    assert "<b>" not in text
    assert "&lt;script&gt;" in text
