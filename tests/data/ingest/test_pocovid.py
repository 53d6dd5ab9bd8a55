from collections import Counter

import pytest

from lus_ray.clip import BIOMARKERS
from lus_ray.data.ingest import pocovid
from lus_ray.data.ingest.tables import label_table
from lus_ray.data.ledger import Ledger
from lus_ray.errors import SourceError

FINDINGS = (*pocovid.GROUPS, "Air bronchogram", "Healthy")


def row(**cells: str) -> label_table.TableRow:
    cells = dict.fromkeys(FINDINGS, "0") | {"Filename": "clip"} | cells
    return label_table.TableRow("dataset_metadata.csv row 2", cells)


def decided(**cells: str) -> dict[str, int]:
    values = pocovid.label_biomarkers(row(**cells), Ledger())
    return {name: value for name, value in zip(BIOMARKERS, values, strict=True) if value >= 0}


def test_a_row_of_zeros_was_never_filled_in():
    for cell in ("0", ""):
        assert pocovid.label_biomarkers(row(**dict.fromkeys(FINDINGS, cell)), Ledger()) is None


def test_a_finding_excludes_none_and_the_zeros_beside_it_count():
    values = decided(Consolidations="1")
    assert values["consolidation: none"] == values["effusion: > 5 mm"] == 0
    assert "consolidation: > 10 mm" not in values
    assert values["effusion: none"] == values["B-line origin: not applicable"] == 1


def test_irregularities_decide_neither_indents_nor_breaks():
    with_them = decided(**{"Pleural line irregularities": "1"})
    assert not any(name.startswith("pleural") for name in with_them)
    without = decided(Effusion="1")
    assert without["pleural indent: none"] == without["pleural break: none"] == 1


def test_a_healthy_lung_without_a_tick_at_a_lines_has_no_a_line_labels():
    assert not any(name.startswith("A-lines") for name in decided(Healthy="1"))
    assert decided(Healthy="1", **{"A-lines": "1"})["A-lines: none"] == 0


def test_a_link_in_a_0_1_column_is_ignored_with_a_note_and_other_text_refused():
    ledger = Ledger()
    cells = {"Effusion": "https://host/x.zip?dl=0", "A-lines": "1"}
    values = pocovid.label_biomarkers(row(**cells), ledger)
    assert values[BIOMARKERS.index("effusion: none")] == -1
    assert ledger.counts() == {"noted": 1}
    with pytest.raises(SourceError, match="'Effusion' is '2'"):
        pocovid.label_biomarkers(row(Effusion="2"), Ledger())


@pytest.fixture
def source(tmp_path):
    """A row without a patient, one without a file, and a file without a row."""
    for folder, *names in (
        ("pocus_videos/convex", "Cov a+(4) [b].GIF", "same.mov", "stray.avi"),
        ("pocus_videos/linear/label_uncertain", "Vir_or.mp4"),
        ("pocus_images/convex", "same.png"),
    ):
        (tmp_path / folder).mkdir(parents=True)
        for name in names:
            (tmp_path / folder / name).touch()
    header = [*pocovid.COLUMNS, *pocovid.PERSON, ""]
    default = dict.fromkeys(header, "") | {"Type": "video", "Probe": "convex", "Label": "COVID-19"}
    lines = [
        {"Filename": "Cov a+(4) [b]", "Patient ID / Name": "5", "Lung Severity Score": "2",
         "Gender": "w", "Age": "40", "Label": "Bacterial pneumonia"},
        {"Filename": "same", "Label": "Regular", "Area according to DEGUM": "3.0", "Gender": "24",
         "Age": "m"},
        {"Filename": "Vir_or", "Label": "Viral pneumonia", "Probe": "Linear",
         "Patient ID / Name": "9"},
        {"Filename": "never public", "Patient ID / Name": "1"},
    ]  # fmt: skip
    rows = [",".join((default | line)[name] for name in header) for line in lines]
    (tmp_path / pocovid.METADATA).write_text("\n".join([",".join(header), *rows]) + "\n")
    return tmp_path


def test_rows_find_their_files_by_name_and_kind(source):
    ledger = Ledger()
    rows = {r["clip"]: r for r in pocovid.clips(source, ledger)}
    first, names = rows["pocovid/Cov a+(4) [b]"], ("severity", "etiology", "sex", "age")
    assert [first[name] for name in names] == [2, "bacterial", "female", 40]
    same, uncertain = rows["pocovid/same"], rows["pocovid/Vir_or"]
    assert (same["patient"], same["file"].suffix) == (None, ".mov")
    assert (same["zone"], same["disease"]) == ("DEGUM 3", "healthy")
    assert (same["sex"], same["age"]) == (None, None)
    shifted = [entry.reason for entry in ledger.entries if ": not read" in entry.reason]
    assert [reason.partition(": ")[2] for reason in shifted] == [
        "'Gender' is '24': not read", "'Age' is 'm': not read"
    ]  # fmt: skip
    assert (uncertain["disease"], uncertain["etiology"], uncertain["probe"]) == (
        None, None, "linear"
    )  # fmt: skip
    skipped = sorted(entry.item for entry in ledger.entries if entry.action == "skipped")
    assert skipped == ["dataset_metadata.csv row 5 (never public)"]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("Regular", "Covid", "row 3: 'Label' is 'Covid'; did you mean 'covid-19'"),
        ("Linear", "Lineal", "row 4: 'Probe' is 'Lineal'; did you mean 'linear'"),
        (
            ",video,",
            ",Vidoe,",
            "row 2: 'Type' is 'Vidoe'; did you mean 'video'? (4 rows have errors)",
        ),
    ],
)
def test_a_class_in_another_spelling_refuses_the_table(old, new, reason, source):
    path = source / pocovid.METADATA
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(SourceError) as caught:
        list(pocovid.clips(source, Ledger()))
    assert reason in str(caught.value)


LINEAR, CONVEX = "pocus_videos/linear/x.gif", "pocus_videos/convex/x.gif"


@pytest.mark.parametrize(
    ("probes", "files", "clips", "skipped"),
    [
        ("convex linear", [CONVEX, LINEAR], {CONVEX[:-4]: "P1", LINEAR[:-4]: "P2"}, []),
        ("convex linear", [LINEAR], {"x": "P2"}, ["row 2"]),
        ("convex", [LINEAR], {}, ["row 2", LINEAR]),
        ("Convex", [LINEAR, CONVEX], {"x": "P1"}, [LINEAR]),
        ("convex convex", [CONVEX], {}, ["row 2", "row 3", CONVEX]),
        ("convex convex linear", [CONVEX, LINEAR], {"x": "P3"}, ["row 2", "row 3", CONVEX]),
        (", linear", [CONVEX, LINEAR], {}, ["row 2", "row 3", CONVEX, LINEAR]),
        (",", [LINEAR], {"x": "P1"}, []),
        ("convex", [CONVEX, "pocus_videos/convex/x.MP4"], {},
         ["row 2", CONVEX, "pocus_videos/convex/x.MP4"]),
        ("convex", ["pocus_videos/x.gif"], {"x": "P1"}, []),
        ("convex", ["pocus_videos/convex/label_uncertain/x.gif"], {"x": "P1"}, []),
    ],
)  # fmt: skip
def test_a_file_has_the_row_of_its_probe_or_none(probes, files, clips, skipped, tmp_path):
    root = tmp_path / "linear"  # a folder above the source is no probe
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    lines = [",".join(pocovid.COLUMNS)]
    for number, probe in enumerate(probes.split(), start=1):
        cells = {"Filename": "x", "Type": "video", "Label": "Regular", "Probe": probe.strip(",")}
        cells["Patient ID / Name"] = f"P{number}"
        lines.append(",".join(cells.get(name, "") for name in pocovid.COLUMNS))
    (root / pocovid.METADATA).write_text("\n".join(lines) + "\n")
    ledger = Ledger()
    read = {item["clip"]: item["patient"] for item in pocovid.clips(root, ledger)}
    assert read == {f"pocovid/{clip}": f"pocovid/{patient}" for clip, patient in clips.items()}
    items = [entry.item for entry in ledger.entries if entry.action == "skipped"]
    assert sorted(items) == sorted(
        name if "." in name else f"{pocovid.METADATA} {name} (x)" for name in skipped
    )


@pytest.mark.data
@pytest.mark.slow
def test_every_public_file_has_its_row(shared_data):
    ledger = Ledger()
    rows = list(pocovid.clips(shared_data / "pocovid", ledger))
    assert len(rows) == 155
    assert len({r["clip"] for r in rows}) == 155
    assert Counter(r["severity"] for r in rows) == {None: 80, 0: 48, 1: 9, 2: 12, 3: 6}
    assert Counter(r["probe"] for r in rows) == {"convex": 142, "linear": 13}
    assert all(r["patient"] for r in rows)
    assert sum(entry.action == "skipped" for entry in ledger.entries) == 374 - 155
