import json

import numpy as np
import pytest
from PIL import Image

from lus_ray import clip
from lus_ray.data import ledger
from lus_ray.data import store as stores
from lus_ray.data.decoding.decoder import DecodeLimits
from lus_ray.data.ingest import parts
from lus_ray.data.ingest.pipeline import ingest
from lus_ray.data.ingest.readers import list_sources
from lus_ray.errors import SourceError


@pytest.fixture
def own(tmp_path, write_video):
    """A folder of five good and five bad files; its table has one bad label."""
    root = tmp_path
    rng = np.random.default_rng(0)
    for name in ("one.mp4", "two [b] +.mp4", "three.MP4", "nobody.mp4"):
        write_video(name, rng.integers(0, 255, (6, 40, 60), dtype=np.uint8))
    Image.fromarray(rng.integers(0, 255, (40, 60), dtype=np.uint8)).save(root / "still.png")
    (root / "page.mp4").write_text("<html>404</html>")
    (root / "cut.mp4").write_bytes((root / "one.mp4").read_bytes()[:900])
    (root / "empty.avi").touch()
    Image.new("L", (6000, 6000)).save(root / "bomb.png")
    (root / "labels.csv").write_text(
        "file,patient,severity,mm_per_pixel\n"
        "one.mp4,1,2,0.5\ntwo [b] +.mp4,2,0,\nthree.MP4,1,,\nstill.png,3,3,\nnobody.mp4,,1,\n"
        "page.mp4,4,1,\ncut.mp4,4,1,\nempty.avi,4,1,\nbomb.png,4,1,\nabsent.mp4,4,1,\n"
    )
    return root


@pytest.mark.slow
def test_good_files_are_in_the_store_and_bad_ones_in_the_ledger(own, tmp_path):
    store, counts = tmp_path / "store", []
    summary = ingest(
        "folder", own, store, max_side=30, progress=lambda *numbers: counts.append(numbers)
    )
    assert [numbers[0] for numbers in counts] == [1, 2, 3, 4]
    assert counts[-1][1:] == (8, 19)  # eight of ten rows have a file and a patient
    assert (summary.num_clips, summary.num_frames, summary.num_patients) == (4, 19, 3)
    assert summary.labels["severity"] == {"0": 1, "2": 1, "3": 1}
    assert summary.frames_per_second > 0
    names = stores.read_index(store)["clip"].to_pylist()
    assert names == ["folder/one", "folder/still", "folder/three", "folder/two [b] +"]
    entries = ledger.read(store / "ledger.jsonl")
    skipped = {entry.item: entry.reason for entry in entries if entry.action == "skipped"}
    causes = {"page.mp4": "HTML", "cut.mp4": "cut.mp4", "empty.avi": "empty"}
    causes |= {"bomb.png": "6000 x 6000", "nobody.mp4": "no patient"}
    assert all(cause in skipped.pop(name) for name, cause in causes.items())
    assert list(skipped) == ["absent.mp4"]
    assert "no file 'absent.mp4'" in skipped["absent.mp4"]
    assert summary.actions["skipped"] == 6
    (row,) = stores.read(store, ["folder/one"])
    assert (row["height"], row["width"], row["fps"]) == (20, 30, 25.0)
    assert row["mm_per_pixel"] == pytest.approx(1.0)  # half the size, twice the spacing
    assert row["sha256"] == clip.hash_pixels(clip.frames_of(row))
    assert row["signature"]
    recorded = json.loads((store / "store.json").read_text())["sources"]["folder"]
    assert (recorded["max_side"], recorded["missing_patient"]) == (30, "refuse")
    assert recorded["summary"]["num_clips"] == 4


@pytest.mark.slow
def test_parts_make_the_clips_and_the_ledger_of_one_process(own, tmp_path_factory, monkeypatch):
    monkeypatch.setattr(parts, "FEWEST_CLIPS", 3)
    workers, stored = [], tmp_path_factory.mktemp("stores")

    def map_in_order(items, worker, settings):
        workers.append(worker(**settings))
        for item in items:
            yield from workers[-1]({"packed": [item]})["packed"].to_pylist()

    for name, mapped in (("one", None), ("parts", map_in_order)):
        ingest("folder", own, stored / name, missing_patient="own", map_in_order=mapped)
    one, several = (
        (list(stores.read(stored / name)), ledger.read(stored / name / "ledger.jsonl"))
        for name in ("one", "parts")
    )
    assert one == several
    assert len(stores.list_shards(stored / "parts")) == 2  # no clip of the last part is good
    with pytest.raises(SourceError, match="give a folder that all machines share"):
        workers[0].make_part(0, ["folder/another"])


@pytest.mark.slow
def test_a_clip_without_a_patient_can_be_its_own_and_that_is_recorded(own, tmp_path):
    store = tmp_path / "store"
    summary = ingest("folder", own, store, missing_patient="own")
    assert summary.num_patients == 4
    assert "folder/nobody" in stores.read_index(store)["patient"].to_pylist()
    assert stores.read_sources(store)["folder"]["missing_patient"] == "own"
    noted = [entry for entry in ledger.read(store / "ledger.jsonl") if entry.action == "noted"]
    assert any("its own patient" in entry.reason for entry in noted)


@pytest.mark.slow
def test_the_same_source_is_replaced_and_the_order_of_work_changes_nothing(own, tmp_path):
    store = tmp_path / "store"
    ingest("folder", own, store, workers=1)
    first = stores.fingerprint(stores.read_index(store))
    ingest("folder", own, store, workers=3)
    assert stores.fingerprint(stores.read_index(store)) == first
    entries = ledger.read(store / "ledger.jsonl")
    assert len({(entry.item, entry.reason) for entry in entries}) == len(entries)


def contents(store):
    return stores.fingerprint(stores.read_index(store)), (store / "ledger.jsonl").read_text()


@pytest.mark.slow
def test_a_run_that_is_interrupted_or_without_a_clip_leaves_the_store_as_it_was(own, tmp_path):
    def interrupt(*_):
        raise KeyboardInterrupt

    store = tmp_path / "store"
    ingest("folder", own, store)
    before = contents(store)
    with pytest.raises(KeyboardInterrupt):
        ingest("folder", own, store, max_side=20, progress=interrupt)
    with pytest.raises(SourceError, match="at most 10"):
        ingest("folder", own, store, limits=DecodeLimits(frame_pixels=10))
    (own / "labels.csv").write_text("file,patient\npage.mp4,1\nempty.avi,1\n")
    with pytest.raises(SourceError, match=r"no clip in .* can be used: empty.avi: .*empty"):
        ingest("folder", own, store)
    assert contents(store) == before
    assert not list(store.glob(".writing-*"))


@pytest.mark.slow
def test_one_clip_under_two_patients_ends_in_one_group(own, tmp_path):
    (own / "copy.mp4").write_bytes((own / "one.mp4").read_bytes())
    (own / "labels.csv").write_text("file,patient\none.mp4,1\ncopy.mp4,2\nthree.MP4,3\n")
    ingest("folder", own, tmp_path / "store")
    rows = stores.read_index(tmp_path / "store").to_pylist()
    group = {row["clip"]: row["group"] for row in rows}
    assert group["folder/one"] == group["folder/copy"] != group["folder/three"]


@pytest.mark.slow
def test_one_patient_in_several_spellings_ends_in_one_group(own, tmp_path):
    names = {"one.mp4": "P-007", "two [b] +.mp4": "P\u2011007", "three.MP4": "p-007"}
    names |= {"still.png": "P-07"}
    rows = "".join(f"{file},{patient}\n" for file, patient in names.items())
    (own / "labels.csv").write_text(f"file,patient\n{rows}", "utf-8")
    assert ingest("folder", own, tmp_path / "store").num_groups == 2
    index = stores.read_index(tmp_path / "store").to_pylist()
    assert {row["clip"][7:]: (row["patient"][7:], row["group"][7:]) for row in index} == {
        "one": ("P-007", "P-007"),
        "two [b] +": ("P-007", "P-007"),
        "three": ("p-007", "P-007"),
        "still": ("P-07", "P-07"),
    }
    notes = {e.item[7:]: e.reason for e in ledger.read(tmp_path / "store" / "ledger.jsonl")}
    assert "counts as 'folder/P-007'" in notes["two [b] +"]
    assert "only in case: kept in one group" in notes["p-007"]
    assert "may be the same patient as 'folder/P-007'" in notes["P-07"]


@pytest.mark.parametrize(
    ("source", "options", "reason"),
    [
        ("nonsense", {}, "no source 'nonsense'; the nearest of 6 names are 'covid_blues'"),
        ("coco", {}, "no source 'coco'"),
        ("folder", {"label": "x.csv"}, "no option --label; did you mean '--labels'"),
        ("folder", {}, "no such folder"),
        ("dicom", {"allow_text": True}, "holds no clip of source 'dicom'; give the folder of its"),
        ("phantom", {"world": "marks"}, "no option --world; remove it"),
        ("phantom", {"patients": "x"}, "--patients is 'x'; give a whole number"),
        ("phantom", {"difficulty": "x"}, "--difficulty is 'x'; give a number"),
    ],
)
def test_an_unknown_source_option_or_folder_is_refused(source, options, reason, tmp_path):
    root = tmp_path if options else tmp_path / "absent"
    with pytest.raises(SourceError, match=reason):
        ingest(source, root, tmp_path / "store", **options)
    assert list_sources() == ["control", "covid_blues", "dicom", "folder", "phantom", "pocovid"]


@pytest.mark.full
@pytest.mark.data
@pytest.mark.slow
def test_covid_blues_is_ingested_whole(shared_data, tmp_path):
    summary = ingest("covid_blues", shared_data / "covid_blues", tmp_path / "store", max_side=112)
    assert (summary.num_clips, summary.num_patients, summary.num_frames) == (266, 47, 22939)
    assert summary.actions["skipped"] == 362 - 266
    assert summary.labels["severity"] == {"0": 85, "1": 87, "2": 57, "3": 37}
