import warnings

import pytest

from lus_ray.data import ledger
from lus_ray.data import store as stores
from lus_ray.data.check import check_store
from lus_ray.data.decoding.dicom_study import read_study
from lus_ray.data.ingest import dicom
from lus_ray.data.ingest.pipeline import ingest
from lus_ray.data.ledger import Ledger
from tests.data.decoding import dicom_files as files
from tests.rights import as_anybody


@pytest.mark.slow
def test_a_folder_becomes_a_store_with_patients_by_folder_or_digest(tmp_path):
    root = tmp_path / "root"
    (root / "anna").mkdir(parents=True)
    (root / "berta").mkdir()
    regions = [files.region()]
    for index, name in enumerate(("anna/1.2.840.7", "anna/two.dcm", "berta/IM0", "loose.dcm")):
        fan = files.fan(seed=index)
        files.write(root / name, fan, SequenceOfUltrasoundRegions=regions)
    files.write(root / "nobody.dcm", files.fan(), PatientID="")
    files.write(root / "berta/text.dcm", files.with_text(files.fan()))
    (root / "notes.txt").write_text("hello")
    store = tmp_path / "store"
    assert ingest("dicom", root, store).num_clips == 4
    table = stores.read_index(store).to_pylist()
    patients = {row["clip"]: row["patient"] for row in table}
    digest = patients.pop("dicom/loose")
    folders = {"anna/1.2.840.7": "anna", "anna/two": "anna", "berta/IM0": "berta"}
    assert patients == {f"dicom/{name}": f"dicom/{own}" for name, own in folders.items()}
    assert len(digest) == len("dicom/") + 16
    assert table[0]["mm_per_pixel"] == pytest.approx(0.2)
    reasons = {entry.item: entry.reason for entry in ledger.read(store / "ledger.jsonl")}
    assert "text" in reasons["berta/text.dcm"]
    assert "no patient" in reasons["nobody.dcm"]
    assert "not a DICOM file" in reasons["notes.txt"]
    assert "anna, berta has the same PatientID" in reasons[digest.removeprefix("dicom/")]
    assert {row["group"] for row in table} == {min(digest, "dicom/anna")}
    kept = b"".join(path.read_bytes() for path in store.rglob("*") if path.is_file())
    assert not [secret for secret in files.SECRETS if secret.encode() in kept]


@pytest.mark.slow
def test_folders_that_share_an_id_stay_in_one_group_whatever_is_read_later(tmp_path):
    people = {"anna": ["X"], "berta": ["Y", "X"], "carla": ["Y", "Z"], "dora": ["W"], "eva": [""]}
    for number, (name, ids) in enumerate(people.items()):
        (tmp_path / "root" / name).mkdir(parents=True)
        for k, who in enumerate(ids):
            fan = files.fan(seed=10 * number + k)
            files.write(tmp_path / "root" / name / f"{k}.dcm", fan, PatientID=who)
    store = tmp_path / "store"
    assert ingest("dicom", tmp_path / "root", store).num_groups == 3
    ingest("phantom", None, store, patients=1, clips=1, frames=2, size=64)
    group = {row["patient"]: row["group"] for row in stores.read_index(store).to_pylist()}
    assert group == {
        **{f"dicom/{name}": "dicom/anna" for name in ("anna", "berta", "carla")},
        **{name: name for name in ("dicom/dora", "dicom/eva", "phantom/A0-p0000")},
    }
    findings = check_store(store)
    assert (findings.num_groups, findings.loose) == (4, ())


def test_only_an_unreadable_file_is_skipped(tmp_path):
    root = tmp_path / "root"
    for name in ("anna", "berta", "carla"):
        (root / name).mkdir(parents=True)
        files.write(root / name / "1.dcm", files.fan(seed=ord(name[0])))
    (root / "berta" / "1.dcm").chmod(0)
    (root / "carla").chmod(0)
    notes = Ledger()
    with as_anybody():
        items = list(dicom.clips(root, notes))
    assert [item["clip"] for item in items] == ["dicom/anna/1"]
    reasons = {entry.item: entry.reason for entry in notes.entries}
    assert reasons == {"berta/1.dcm": "not readable: Permission denied"}


@pytest.mark.slow
def test_text_beside_the_fan_can_be_allowed_and_the_folder_reader_takes_dicom_files(tmp_path):
    (tmp_path / "root" / "anna").mkdir(parents=True)
    files.write(tmp_path / "root" / "anna" / "text.dcm", files.with_text(files.fan()))
    ingest("dicom", tmp_path / "root", tmp_path / "store", allow_text=True)
    files.write(tmp_path / "a.dcm", files.fan(seed=1))
    (tmp_path / "labels.csv").write_text("file,patient,severity\na.dcm,1,2\n")
    ingest("folder", tmp_path, tmp_path / "store")
    row, _ = sorted(stores.read(tmp_path / "store"), key=lambda row: row["source"], reverse=True)
    assert (row["severity"], row["fps"], len(row["frames"])) == (2, 25.0, 6)


def test_the_reader_of_the_examination_warns_of_nothing(tmp_path):
    with pytest.warns(UserWarning, match="Unknown encoding"):
        path = files.write(tmp_path / "a.dcm", files.fan(1), SpecificCharacterSet="ISO 2022 IR 1")
    with warnings.catch_warnings(action="error"):
        assert read_study(path).patient


FACTS = ("device", "probe", "sex", "age")


@pytest.mark.parametrize(
    ("elements", "facts"),
    [
        ({}, (None, None, None, None)),
        ({"Manufacturer": "Philips", "ManufacturerModelName": "Lumify", "PatientSex": "M",
          "PatientAge": "045Y", "TransducerType": "CURVED_LINEAR"},
         ("Philips Lumify", "convex", "male", 45)),
        ({"Manufacturer": "GE", "ManufacturerModelName": "GE Vscan\x07", "PatientSex": "F",
          "PatientAge": "006M", "TransducerType": "LINEAR", "TransducerData": "C5-2"},
         ("GE Vscan", "linear", "female", 0.5)),
        ({"Manufacturer": "x" * 64, "PatientSex": "O", "PatientAge": "45",
          "TransducerData": ["S5-1", "7"]}, ("x" * 64, "phased", None, None)),
        ({"TransducerType": "ENDOCAV_PA", "TransducerData": "vaginal", "PatientAge": "900Y"},
         (None, None, None, None)),
    ],
)  # fmt: skip
def test_device_probe_sex_and_age_come_from_the_header(elements, facts, tmp_path):
    with warnings.catch_warnings(action="ignore"):  # of values that no scanner should write
        path = files.write(tmp_path / "a.dcm", files.fan(1), **elements)
    study = read_study(path)
    assert tuple(getattr(study, name) for name in FACTS) == facts
    assert bool(study.notes) == ("PatientAge" in elements and facts[-1] is None)
    assert study.site.startswith("site-")
    assert len(study.site) == 13
