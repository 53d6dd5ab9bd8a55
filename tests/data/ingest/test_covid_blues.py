import pytest

from lus_ray.clip import BIOMARKERS
from lus_ray.data.ingest import covid_blues
from lus_ray.data.ingest.tables import label_table
from lus_ray.data.ledger import Ledger
from lus_ray.errors import SourceError

CLINICAL = (
    "patient_id", covid_blues.AIR, covid_blues.OXYGEN, covid_blues.FLOW, *covid_blues.PERSON
)  # fmt: skip
DIAGNOSES = tuple(covid_blues.DIAGNOSES)


def patient(air="", oxygen="", flow="", ticked=()) -> label_table.TableRow:
    cells = dict(zip(CLINICAL, ("7", air, oxygen, flow, "", "", ""), strict=True))
    cells |= {name: str(int(name.removeprefix("clin_diagn#") in ticked)) for name in DIAGNOSES}
    return label_table.TableRow("clinical_variables.csv row 2", cells)


def decided(a_lines: str, b_lines: str) -> dict[str, int] | None:
    row = label_table.TableRow("severity.csv row 2", {"A-lines": a_lines, "B-lines": b_lines})
    values = dict(zip(BIOMARKERS, covid_blues.label_biomarkers(row) or (), strict=False))
    return {name: value for name, value in values.items() if value >= 0} or None


NONE = ("A-lines: none", "B-lines: none", "B-line origin: not applicable")


def test_absent_lines_decide_their_group_and_the_origin_and_present_ones_only_exclude_none():
    values = decided("no", "no")
    assert {name for name, value in values.items() if value == 1} == set(NONE)
    assert len(values) == 5 + 5 + 3
    assert decided("yes", "yes") == dict.fromkeys(NONE, 0)
    assert decided("", "") is None


@pytest.mark.parametrize(
    ("values", "ratio"),
    [
        (("84", "", ""), 400),  # 84 / 0.21
        (("84", "90", "6"), 200),  # 90 / (0.21 + 0.24)
        (("-99", "92", "40"), 92),  # the fraction is capped at 1
        (("96", "-96", ""), 96 / 0.21),
        (("84", "92", ""), 400),  # the flow is not known
        (("-99.0", "95", ""), None),
        (("90-92", "-99", ""), 91 / 0.21),
    ],
)
def test_sf_ratio_from_saturation_and_flow(values, ratio):
    estimate = covid_blues.estimate_sf_ratio(patient(*values), Ledger())
    assert estimate == (ratio and pytest.approx(ratio))


@pytest.mark.parametrize("air", ["nan", "960", "30-35", "good"])
def test_a_saturation_out_of_range_is_refused(air):
    with pytest.raises(SourceError, match="oxygen_saturation_without_ox"):
        covid_blues.estimate_sf_ratio(patient(air), Ledger())


@pytest.mark.parametrize(
    ("ticked", "name", "etiology"),
    [
        (("healthy_lung",), "healthy", None),
        (("COVID19_pneumonia", "other_lung_disease"), "COVID-19 pneumonia", None),
        (("bacterial_pneumonia", "other_lung_disease"), "other lung disease", "bacterial"),
        (("other_viral_pneumonia",), "other lung disease", "viral"),
        (("other_viral_pneumonia", "bacterial_pneumonia"), "other lung disease", "other"),
        (("other_lung_disease",), "other lung disease", None),
        (("healthy_lung", "COVID19_pneumonia"), None, None),
        ((), None, None),
    ],
)
def test_disease_and_etiology_of_several_diagnoses(ticked, name, etiology):
    ledger, row = Ledger(), patient(ticked=ticked)
    assert covid_blues.choose_disease(row, ledger) == name
    assert covid_blues.choose_etiology(row) == etiology
    assert bool(ledger.entries) == (name is None)


@pytest.fixture
def source(tmp_path):
    """Two patients; the files are empty, as reading does not open them."""
    (tmp_path / "lus_videos").mkdir()
    for name in ("patient_10_L1.mp4", "patient_2_R3_2.MP4", "patient_2_R1.mp4", "stray.mp4"):
        (tmp_path / "lus_videos" / name).touch()
    (tmp_path / "severity.csv").write_text(
        "video_file,Severity Score,A-lines,B-lines,comments\n"
        "patient_10_L1,3.0,no ,yes,\npatient_2_R3_2,0.0,yes,no,fine\npatient_2_R1,1.0,yes,yes,\n"
        "patient_2_R2,1.0,yes,yes,\n"
    )
    header = ",".join((*CLINICAL, *DIAGNOSES))
    (tmp_path / "clinical_variables.csv").write_text(
        f"{header}\n2.0,97,-96,,0.0,63.0,-99,1,0,0,0,0\n"
    )
    return tmp_path


def test_clips_come_patient_by_patient_with_zone_person_and_labels(source):
    ledger = Ledger()
    names = ("clip", "zone", "severity", "disease", "sex", "age", "bmi")
    known = ("COVID-19 pneumonia", "female", 63, None)
    assert [tuple(map(row.get, names)) for row in covid_blues.clips(source, ledger)] == [
        ("covid_blues/patient_2_R1", "R1", 1, *known),
        ("covid_blues/patient_2_R3_2", "R3", 0, *known),
        ("covid_blues/patient_10_L1", "L1", 3, None, None, None, None),
    ]
    actions = {entry.item: entry.action for entry in ledger.entries}
    assert actions == {"patient_10_L1": "noted", "severity.csv row 5 (patient_2_R2)": "skipped"}


@pytest.mark.parametrize(
    ("column", "old", "new"),
    [
        *(("Severity Score", "1.0", grade) for grade in ("nan", "7", "1.5", "mild")),
        ("B-lines", "yes", "maybe"),
    ],
)
def test_an_invalid_grade_or_finding_refuses_the_table(column, old, new, source):
    text = (source / "severity.csv").read_text()
    row = "patient_2_R1,1.0,yes,yes,"
    before, _, after = row.rpartition(old)
    (source / "severity.csv").write_text(text.replace(row, before + new + after))
    with pytest.raises(SourceError, match=f"severity.csv row 4: {column!r} is {new!r}; write"):
        list(covid_blues.clips(source, Ledger()))


def test_a_clip_listed_twice_or_with_two_files_is_refused(source):
    with (source / "severity.csv").open("a") as file:
        file.write("patient_2_R3_2,3.0,no,yes,\n")
    (source / "lus_videos" / "patient_2_R1.avi").touch()
    ledger = Ledger()
    (row,) = covid_blues.clips(source, ledger)
    assert row["clip"] == "covid_blues/patient_10_L1"
    twice = {entry.item for entry in ledger.entries if "listed more than once" in entry.reason}
    rows = {"severity.csv row 3 (patient_2_R3_2)", "severity.csv row 6 (patient_2_R3_2)"}
    assert twice == {*rows, "lus_videos/patient_2_R3_2.MP4"}
    reason = "several files in lus_videos: patient_2_R1.avi, patient_2_R1.mp4"
    several = {entry.item for entry in ledger.entries if reason in entry.reason}
    names = {"lus_videos/patient_2_R1.avi", "lus_videos/patient_2_R1.mp4"}
    assert several == {"severity.csv row 4 (patient_2_R1)", *names}


def test_a_patient_with_two_clinical_rows_is_refused(source):
    table = source / "clinical_variables.csv"
    table.write_text(table.read_text() + "2,80,-96,,1,50,20,0,0,0,0,1\n")
    reason = r"clinical_variables.csv row 3: patient '2' is in clinical_variables.csv row 2 too"
    with pytest.raises(SourceError, match=reason):
        list(covid_blues.clips(source, Ledger()))


@pytest.mark.parametrize(
    ("old", "new"), [("0.0,63", "2,63"), ("0.0,63", "0.5,63"), ("63.0", "163")]
)
def test_a_person_out_of_range_refuses_the_clips_of_the_patient(old, new, source):
    table = source / "clinical_variables.csv"
    table.write_text(table.read_text().replace(old, new))
    ledger = Ledger()
    assert [row["clip"] for row in covid_blues.clips(source, ledger)] == [
        "covid_blues/patient_10_L1"
    ]
    reasons = [entry.reason for entry in ledger.entries if "; write" in entry.reason]
    assert len(reasons) == 2
