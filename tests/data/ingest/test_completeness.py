"""Each file below ROOT is a stored clip, a table or mask that was read, or in the ledger."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lus_ray.data import ledger as ledgers
from lus_ray.data import store as stores
from lus_ray.data.ingest import covid_blues, pocovid
from lus_ray.data.ingest.conflicts import drop_conflicts
from lus_ray.data.ingest.pipeline import ingest
from lus_ray.data.ingest.source_files import walk, write_rest, write_unreadable
from lus_ray.data.ledger import Ledger, escape_name
from tests.data.decoding import dicom_files

NOISE = np.random.default_rng(0).integers(0, 255, (9, 40, 60), dtype=np.uint8)


def list_names(root: Path) -> set[str]:
    """All names below a folder but those of folders that can be entered; found without `walk`."""
    names, entered = set(), {os.path.realpath(root)}
    for folder, folders, files in os.walk(root, followlinks=True):
        for name in list(folders):
            path = os.path.join(folder, name)
            if os.path.realpath(path) in entered:
                folders.remove(name)
                files.append(name)
            entered.add(os.path.realpath(path))
        names |= {os.path.relpath(os.path.join(folder, name), root) for name in files}
    return {escape_name(name) for name in names}


def missing(root: Path, store: Path, used: set[str]) -> set[str]:
    """Names below ROOT that are neither stored nor used nor in the ledger, or are both."""
    items = {entry.item for entry in ledgers.read(store / "ledger.jsonl")}
    clips = {name.partition("/")[2] for name in stores.read_index(store)["clip"].to_pylist()}
    names = list_names(root)
    stored = {
        name
        for name in names
        if clips & {name, str(Path(name).with_suffix("")), Path(name).stem} and name not in items
    }
    assert len(stored) == len(clips)
    return names - items - stored - used


def write_image(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(NOISE[number]).save(path)


def write_table(path: Path, columns: tuple[str, ...], *rows: dict[str, str]) -> None:
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, columns, restval="")
        table.writeheader()
        table.writerows(rows)


def write_folder(root: Path, elsewhere: Path) -> tuple[str, set[str]]:
    write_image(root / "in" / "a.png", 0)
    write_image(elsewhere / "b.png", 1)
    (root / "linked").symlink_to(elsewhere)
    write_image(root / "mask" / "m.png", 2)
    Image.fromarray(NOISE[2] % 2).save(root / "mask" / "m.png")
    rows = [{"file": "in/a.png", "patient": "1", "mask_scheme": "bline", "mask": "mask/m.png"}]
    rows += [{"file": "linked/b.png", "patient": "2"}, {"file": "in/gone.png", "patient": "3"}]
    write_table(root / "labels.csv", ("file", "patient", "mask_scheme", "mask"), *rows)
    return "in", {"labels.csv", "mask/m.png"}


def write_covid_blues(root: Path, elsewhere: Path) -> tuple[str, set[str]]:
    write_image(root / "lus_videos" / "patient_1_L1.png", 0)
    write_image(elsewhere / "1.png", 1)
    (root / "lus_videos" / "patient_2_L1.png").symlink_to(elsewhere / "1.png")
    names = ("patient_1_L1", "patient_2_L1", "patient_3_L1")
    rows = [{"video_file": name, "Severity Score": "1"} for name in names]
    write_table(root / "severity.csv", covid_blues.CLIP_COLUMNS, *rows)
    clinical = (covid_blues.AIR, covid_blues.OXYGEN, covid_blues.FLOW, *covid_blues.DIAGNOSES)
    clinical += covid_blues.PERSON
    write_table(root / "clinical_variables.csv", ("patient_id", *clinical))
    return "lus_videos", {"severity.csv", "clinical_variables.csv"}


def write_pocovid(root: Path, elsewhere: Path) -> tuple[str, set[str]]:
    write_image(root / "pocus_images" / "convex" / "x.png", 0)
    write_image(elsewhere / "y.PNG", 1)
    (root / "pocus_images" / "linear").symlink_to(elsewhere)
    rows = [
        {"Filename": name, "Type": "Image", "Probe": probe, "Label": "Regular", patient: name}
        for patient in ("Patient ID / Name",)
        for name, probe in (("x", "convex"), ("y", "linear"), ("never public", "convex"))
    ]
    write_table(root / pocovid.METADATA, pocovid.COLUMNS, *rows)
    return "pocus_images/convex", {pocovid.METADATA}


def write_dicom(root: Path, elsewhere: Path) -> tuple[str, set[str]]:
    (root / "anna").mkdir(parents=True)
    elsewhere.mkdir()
    dicom_files.write(root / "anna" / "a.dcm", dicom_files.fan(seed=1))
    dicom_files.write(elsewhere / "b", dicom_files.fan(seed=2), PatientID="B")
    (root / "berta").symlink_to(elsewhere)
    return "anna", set()


WRITERS = {
    "folder": write_folder,
    "covid_blues": write_covid_blues,
    "pocovid": write_pocovid,
    "dicom": write_dicom,
}

SKIPPED = ("dangling.mp4", "self.mp4", "loop", "pipe.mp4", "empty.mp4", "page.png", "CLIP.AVI",
           r"caf\xe9.mp4", r"two\nlines.mp4", "x" * 250 + ".mp4", ".hidden.mp4")  # fmt: skip
NOTED = (".DS_Store", "._clip.mp4", "Thumbs.db", "LICENSE", "notes.txt", "store/store.json")


def write_odd_names(folder: Path, root: Path) -> None:
    (folder / "dangling.mp4").symlink_to("../not fetched.mp4")
    (folder / "self.mp4").symlink_to("self.mp4")
    (folder / "loop").symlink_to(root)
    os.mkfifo(folder / "pipe.mp4")
    (folder / "empty.mp4").touch()
    (folder / "page.png").write_text("<html>404</html>")
    for name in (b"caf\xe9.mp4", b"two\nlines.mp4", b"x" * 250 + b".mp4", b"CLIP.AVI"):
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(b"\0\0\0\x18ftypmp42")
    (folder / ".hidden.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    for name in NOTED:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("text")
    (folder / "store" / "clips").mkdir()


@pytest.mark.slow
@pytest.mark.parametrize("reader", WRITERS)
def test_each_file_is_stored_or_in_the_ledger(reader, tmp_path):
    root, store = tmp_path / "root", tmp_path / "store"
    folder, used = WRITERS[reader](root, tmp_path / "elsewhere")
    write_odd_names(root / folder, root)
    (root / "outer.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    summary = ingest(reader, root, store)
    assert summary.num_clips == 2
    actions = {entry.item: entry.action for entry in ledgers.read(store / "ledger.jsonl")}
    expected = {f"{folder}/{name}": "skipped" for name in SKIPPED} | {"outer.png": "skipped"}
    expected |= {f"{folder}/{name}": "noted" for name in NOTED[:-1]}
    if reader == "dicom":  # which reads files of any name
        expected |= {f"{folder}/{name}": "skipped" for name in ("LICENSE", "notes.txt")}
    assert {name: actions.get(name) for name in expected} == expected
    assert actions[f"{folder}/store"] == "noted"
    ledger_of_store = {f"{folder}/store/store.json"}
    assert missing(root, store, used | ledger_of_store) == set()
    assert summary.num_files == len(list_names(root) - ledger_of_store)
    assert summary.last_line().startswith(
        f"skipped {len(SKIPPED) + 1 + 2 * (reader == 'dicom')} of "
    )


@pytest.mark.data
@pytest.mark.parametrize(
    ("reader", "num_clips", "num_noted"), [(covid_blues, 266, 2), (pocovid, 155, 0)]
)
@pytest.mark.slow
def test_the_public_sources_are_complete(reader, num_clips, num_noted, shared_data):
    root, ledger = shared_data / reader.SOURCE, Ledger()
    items = drop_conflicts(reader.clips(root, ledger), root, reader.SOURCE, ledger)
    found = walk(root)
    write_unreadable(found, reader.SOURCE, ledger)
    assert len(items) == num_clips
    rows_without_file = ledger.counts()["skipped"]
    before = ledger.counts()["noted"]
    write_rest(found, [item["file"] for item in items], reader.SOURCE, ledger)
    assert ledger.counts() == {"skipped": rows_without_file, "noted": before + num_noted}
    assert len(list_names(root)) == num_clips + num_noted + len(ledger.used)
