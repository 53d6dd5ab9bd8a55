import pytest

from lus_ray.clip import BIOMARKER_GROUPS, BIOMARKERS
from lus_ray.data.ingest import folder
from lus_ray.data.ledger import Ledger
from lus_ray.errors import SourceError


@pytest.fixture
def read(tmp_path):
    """`read(csv text)` over a.mp4, a.png, sub/b [2].avi gives rows by clip, and the ledger."""
    root = tmp_path / "own"
    (root / "sub").mkdir(parents=True)
    for name in ("a.mp4", "a.png", "sub/b [2].avi"):
        (root / name).touch()
    (tmp_path / "outside.mp4").touch()

    def run(text: str, **options):
        (root / "labels.csv").write_text(text)
        ledger = Ledger()
        return {row["clip"]: row for row in folder.clips(root, ledger, **options)}, ledger

    return run


def test_every_column_is_stored_as_it_is(read):
    rows, ledger = read(
        "file,patient,probe,zone,domain,mm_per_pixel,fps,severity,raters,sf_ratio,disease,"
        "etiology,sex,age,bmi,site,device,exam,B-lines: none,effusion: none\n"
        "sub/b [2].avi,P 1,linear,L1,ward,0.2,20,2.0,1;2;2,310,other lung disease,"
        "viral,F,0.5,17,Ost,Lumify C5,2,0,\n"
    )
    row = rows["folder/sub/b [2]"]
    biomarkers = row.pop("biomarkers")
    assert biomarkers.pop(BIOMARKERS.index("B-lines: none")) == 0
    assert biomarkers == [-1] * 37
    expected = {"patient": "folder/P 1", "probe": "linear", "zone": "L1", "domain": "ward"}
    expected |= {"mm_per_pixel": 0.2, "fps": 20.0, "severity": 2, "raters": [1, 2, 2]}
    expected |= {"sf_ratio": 310.0, "disease": "other lung disease", "etiology": "viral"}
    expected |= {"sex": "female", "age": 0.5, "bmi": 17.0}
    expected |= {"site": "Ost", "device": "Lumify C5", "exam": "2"}
    assert {name: row[name] for name in expected} == expected
    assert not ledger.entries


@pytest.mark.parametrize(
    ("text", "grades"),
    [("0;0;1", [0, 0, 1]), ("0x3;2x2", [0, 0, 0, 2, 2]), (" 1 x 2 ; 3", [1, 1, 3]), ("", None)],
)
def test_grades_of_frames_are_listed_or_given_in_runs(text, grades, read):
    rows, _ = read(f"file,patient,frame_severity\na.mp4,1,{text}\n")
    assert rows["folder/a"].get("frame_severity") == grades


def test_rows_come_by_patient_and_files_of_one_stem_keep_their_extension(read):
    rows, _ = read("file,patient\na.mp4,2\nsub/b [2].avi,1\na.png,2\n")
    assert list(rows) == ["folder/sub/b [2]", "folder/a.mp4", "folder/a.png"]


@pytest.mark.parametrize("file", ["", ".", "/"])
def test_a_row_without_a_file_is_refused_alone(file, read):
    rows, ledger = read(f"file,patient\n{file},1\na.mp4,2\n")
    assert list(rows) == ["folder/a"]
    (entry,) = ledger.entries
    assert "row 2" in entry.reason


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("fps", "0"),
        ("mm_per_pixel", "inf"),
        ("mm_per_pixel", "1_0"),
        ("sf_ratio", "\uff11"),
        ("age", "045Y"),
        ("age", "121"),
        ("bmi", "3"),
    ],
)
def test_a_measurement_out_of_range_refuses_its_row_and_names_it(column, value, read):
    rows, ledger = read(f"file,patient,{column}\na.mp4,1,{value}\na.png,1,\n")
    assert list(rows) == ["folder/a.png"]
    (entry,) = ledger.entries
    assert entry.action == "skipped"
    assert f"labels.csv row 2: {column!r} is" in entry.reason


def test_a_decimal_comma_is_refused_with_the_remedy(read):
    _, ledger = read('file,patient,mm_per_pixel\na.mp4,1,"1,5"\n')
    assert "'mm_per_pixel' is '1,5'; write" in ledger.entries[0].reason
    assert "decimal point" in ledger.entries[0].reason


def test_a_folder_without_a_table_is_refused_with_the_command_that_writes_it(tmp_path):
    with pytest.raises(SourceError, match=f"'lus ingest folder {tmp_path} --init'$"):
        list(folder.clips(tmp_path, Ledger()))


CLASSES = [("probe", "Convex", "; did you mean 'convex'"), ("probe", "round", "; write one of")]
CLASSES += [("disease", "COVID-19", "; did you mean 'COVID-19 pneumonia'")]
CLASSES += [("disease", "pneumonia", "; write 'other lung disease', with its etiology")]
CLASSES += [("disease", "COPD", "; did you mean 'asthma or COPD exacerbation'")]
CLASSES += [("sex", "w", "; write one of female, male, f, m"), ("sex", "1", "; write one of")]
CLASSES += [("etiology", "fungal", "; write one of"), ("etiology", "viral", "; write the disease")]
CLASSES += [("severity", text, "; write a") for text in ("nan", "4", "-99", "severe", "0x1")]
CLASSES += [("B-lines: none", text, "; write yes, no") for text in ("2", "maybe")]
CLASSES += [("raters", text, "; write 1;2;1") for text in ("1;;2", "1x2")]
CLASSES += [("frame_severity", text, "; write 0;0;1") for text in ("0x", "0x1.5")]
CLASSES += [("frame_severity", "4x3", "; write a number 0 to 3")]


@pytest.mark.parametrize(("column", "value", "remedy"), CLASSES)
def test_a_class_that_its_column_does_not_allow_refuses_the_table(column, value, remedy, read):
    with pytest.raises(SourceError) as caught:
        read(f"file,patient,{column}\na.png,1,\na.mp4,1,{value}\na.mp4,2,{value}\n")
    (message,) = str(caught.value).splitlines()
    assert message.startswith(f"labels.csv row 3: {column!r} is '")
    assert remedy in message
    assert message.endswith("(2 rows have errors)")


@pytest.mark.parametrize(
    "file", ["../outside.mp4", "sub/../../outside.mp4", "/etc/hostname", "link/../../outside.mp4"]
)
def test_a_path_out_of_the_folder_is_refused(file, read, tmp_path):
    (tmp_path / "own" / "link").symlink_to(tmp_path / "own" / "sub")
    rows, ledger = read(f"file,patient\n{file},1\n")
    assert not rows
    assert "leads out of the folder" in ledger.entries[0].reason


def test_a_path_of_windows_is_read_and_another_case_or_extension_is_suggested(read):
    rows, ledger = read("file,patient\nsub\\b [2].avi,1\nA.mp4,2\nsub/b [2].mp4,3\n")
    assert list(rows) == ["folder/sub/b [2].avi"]  # a row has the stem as well
    hints = [entry.reason.partition("did you mean ")[2] for entry in ledger.entries]
    assert hints == ["'a.mp4'?", "'b [2].avi'?"]


def test_a_link_in_the_folder_is_followed(read, tmp_path):
    (tmp_path / "own" / "link.mp4").symlink_to(tmp_path / "outside.mp4")
    rows, ledger = read("file,patient\nlink.mp4,1\n")
    assert rows["folder/link"]["file"] == tmp_path / "own" / "link.mp4"
    assert not ledger.entries


def test_a_file_listed_twice_under_two_patients_is_refused(read):
    rows, ledger = read("file,patient\na.mp4,1\n./a.mp4,2\na.png,1\n")
    assert len(rows) == 1
    assert ["listed more than once" in entry.reason for entry in ledger.entries] == [True, True]


MISSPELT = {"severty": "severity", "Severity": "severity", "severity score": "severity"}
MISSPELT |= {"Disease": "disease", "FPS": "fps", "mm per pixel": "mm_per_pixel", "SF": None}
MISSPELT |= {"b-lines: none": "B-lines: none", "B-lines none": "B-lines: none"}
MISSPELT |= {"B-lines": "', '".join(f"B-lines: {n}" for n in BIOMARKER_GROUPS["B-lines"][:-1])}
MISSPELT["B-lines"] += f"' or 'B-lines: {BIOMARKER_GROUPS['B-lines'][-1]}"
MISSPELT |= {"B lines: lots": MISSPELT["B-lines"], "Effusions: < 5 mm": "effusion: < 5 mm"}
MISSPELT |= {"B-line": MISSPELT["B-lines"], "A-lines: week": "A-lines: weak"}
MISSPELT |= dict.fromkeys(("comment", "date", "operator", "patient age", "frame"))


@pytest.mark.parametrize(("name", "meant"), MISSPELT.items())
def test_a_misspelt_column_is_refused_and_an_unknown_one_skipped_with_a_note(name, meant, read):
    table = f"file,patient,{name}\na.mp4,1,1\n"
    if meant:
        with pytest.raises(SourceError) as caught:
            read(table)
        assert f"column {name!r} is unknown; did you mean '{meant}'?" in str(caught.value)
    else:
        rows, ledger = read(table)
        assert list(rows) == ["folder/a"]
        (entry,) = ledger.entries
        assert entry.action == "noted"
        assert entry.reason.startswith(f"column {name!r} is not a label: it has 1 value")


def test_a_required_column_in_another_spelling_is_named(read):
    with pytest.raises(SourceError, match=r"'Patient ID' is unknown; did you mean 'patient'"):
        read("file,Patient ID\na.mp4,1\n")


def test_a_file_is_found_by_its_name_in_another_unicode_form(read, tmp_path):
    (tmp_path / "own" / "e\u0301.png").touch()  # as macOS writes it
    rows, ledger = read("file,patient\n\u00e9.png,1\n")
    assert [row["file"].name for row in rows.values()] == ["e\u0301.png"]
    rows, ledger = read("file,patient\n\u00e9.png,1\ne\u0301.png,2\n")
    assert not rows
    assert ["listed more than once" in entry.reason for entry in ledger.entries] == [True, True]
    (tmp_path / "own" / "\u00e9.png").touch()
    rows, ledger = read("file,patient\n\u00e9.png,1\ne\u0301.png,2\n")
    assert {row["file"].name: row["patient"][-1] for row in rows.values()} == {
        "\u00e9.png": "1",
        "e\u0301.png": "2",
    }


def test_labels_may_lie_elsewhere(read, tmp_path):
    (tmp_path / "other.csv").write_text("file,patient\na.png,3\n")
    rows, _ = read("nothing\n", labels=tmp_path / "other.csv")
    assert [row["patient"] for row in rows.values()] == ["folder/3"]
