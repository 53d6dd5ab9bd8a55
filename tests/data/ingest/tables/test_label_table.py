import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lus_ray.data.ingest.tables import label_table
from lus_ray.errors import SourceError


def row(text):
    return label_table.TableRow("labels.csv row 2", {"x": text})


def test_cells_are_read_as_whole_numbers_or_as_yes_and_no():
    for text, value in {"2.0": 2, "0": 0, "": None, "3": 3}.items():
        assert row(text).whole("x", low=0, high=3) == value
    for text, value in {"yes": True, "No": False, "1": True, "0.0": False, "": None}.items():
        assert row(text).yes_no("x") is value
    with pytest.raises(SourceError, match="'maybe'"):
        row("maybe").yes_no("x")


@pytest.mark.parametrize(
    "text", ["nan", "NaN", "inf", "-1", "4", "1.5", "two", "1,0", "0x1", "1_0", "\uff11"]
)
def test_other_text_than_a_grade_is_refused_with_file_row_and_column(text):
    with pytest.raises(SourceError, match=rf"labels\.csv row 2: 'x' is '{text}'"):
        row(text).whole("x", low=0, high=3)


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_a_number_is_exact_or_refused(value):
    try:
        assert row(repr(value)).number("x", low=0, high=100) == value
        assert 0 <= value <= 100
    except SourceError:
        assert math.isnan(value) or not 0 <= value <= 100


def test_missing_codes_are_none_only_where_they_are_expected():
    for code in ("-99", "-96.0"):
        assert row(code).number("x", low=0, high=100, codes=True) is None
        with pytest.raises(SourceError):
            row(code).number("x", low=0, high=100)


def read(folder, content, **options):
    path = folder / "labels.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    header, rows = label_table.read(path, ("file", "patient"), **options)
    return header, [(int(row.where.split()[-1]), list(row.cells.values())) for row in rows]


HEADER = "file,patient,zone\n"
EXCEL = HEADER + 15 * "a,1,x\n" + 16 * "b,2\n" + 16 * "c,3,y\n" + 2 * "d,4\n"
SHAPES = {
    "\ufefffile , patient,zone\n a b.mp4,7 ,\n\n,,\n": [(2, ["a b.mp4", "7", ""])],
    "\n,,\nfile,patient,\r\n\r\na,7,,,\r\nb,8\r\n": [(5, ["a", "7"]), (6, ["b", "8"])],
    HEADER + 'a,7,"the ""upper"" zone"\n': [(2, ["a", "7", 'the "upper" zone'])],
    HEADER + 'a,7,"a 5"" probe"\nb,8,""""\n': [(2, ["a", "7", 'a 5" probe']), (3, ["b", "8", '"'])],
    'file,note,patient\na,"b, c,\nd",7\n': [(2, ["a", "b, c,\nd", "7"])],
    "file,patient\ra,7\rb,8\r": [(2, ["a", "7"]), (3, ["b", "8"])],
    'sep=,\nfile,patient\na, "7, 8"\n': [(3, ["a", "7, 8"])],
    'file,patient,x\na,7,"e\nf"\nb,8,5"\n': [(2, ["a", "7", "e\nf"]), (4, ["b", "8", '5"'])],
    EXCEL: [
        *((n, ["a", "1", "x"]) for n in range(2, 17)),
        *((n, ["b", "2", ""]) for n in range(17, 33)),
        *((n, ["c", "3", "y"]) for n in range(33, 49)),
        *((n, ["d", "4", ""]) for n in (49, 50)),
    ],
}  # fmt: skip


@pytest.mark.parametrize("text", SHAPES)
def test_tables_of_spreadsheets_are_read_and_rows_have_the_line_of_an_editor(text, tmp_path):
    assert read(tmp_path, text)[1] == SHAPES[text]


def test_column_names_are_unified_and_one_without_a_name_has_its_number(tmp_path):
    header, _ = read(tmp_path, "\u200bfile,patient\u00a0,,mm\u00a0 per  pixel,,\na,1,x,2\n")
    assert header == ["file", "patient", "(column 3)", "mm per pixel"]


REFUSED = {
    HEADER + 'a,1,x\nb,2,"x\nc,3,x\n': "row 3: a quote opens",
    HEADER + 'b,2,"x\nc,3,"x"\n': "row 2: a quote opens",
    HEADER + 'b,2,"x" y\n': "row 2: a quote opens",
    HEADER + 'b,2,"x\nc,3,"\nd,4,x\n': "row 2: cell 'zone' holds a line break",
    HEADER + 'b,2,"\nc,3,"\nd,4,x\n': "row 2: cell 'zone' holds a line break",
    'file,patient,"x\na,1,"\nb,2,y\n': "row 1: cell 'x' holds a line break",
    'file,patient,other\nb,2,"x\nc,3,"\n': "row 2: cell 'other' holds a line break",
    'file,patient,x\na,1,"i\nj"\nb,2,"x\n': "row 4: a quote opens",
    HEADER + 'a,1",x\n': "row 2: 'patient' is '1\"'; close the quote",
    HEADER + "a,1,x\nb,2,1,5\n": "row 3: 4 cells, but the header has 3; quote a cell that holds a",
    HEADER + "a,1,x\n# ward 2\n": "row 3: 1 cells, but the header has 3; keep the commas",
    "file,patient,,\na,1,5,\n": "row 2: 4 cells, but the header has 2",
    HEADER + 15 * "a,1,x\n" + "b,2\n": "row 17: 2 cells, but the header has 3",
    HEADER + 15 * "a,1,x\n" + "b,2\nb,2,x\n": "row 17: 2 cells, but the header has 3",
    HEADER + "a,1,x\nPatient,file,other\n": "row 3: repeats the column names",
    "file,patient,Zone,zone\u00a0\n": "row 1: 2 columns are named 'Zone' and 'zone'; keep one",
    "file,Patient \n": "column 'Patient' is unknown; did you mean 'patient'?",
    "filename,patient\n": "column 'filename' is unknown; did you mean 'file'?",
    "# of today\nfile,patient\n": "'# of today'; remove what is above the column names in row 2",
    "a.png,p1\nb.png,p2\n": "column 'file' is missing; found 'a.png', 'p1'; add it",
    "file;patient;mm\na;1;0,5\n": "separated by semicolons; save it as 'CSV UTF-8'",
    '"file";"patient"\n': "separated by semicolons",
    "sep=;\r\nfile;patient\r\na;1\r\n": "separated by semicolons",
    "file\tpatient\na\t1\n": "separated by tabs",
    '"file" "patient"\n"1" "a.png" 7\n': "separated by blanks; save it as 'CSV UTF-8'",
    "file|patient\ra|1\r": "separated by vertical bars",
    "file\tpatient\n".encode("utf-16"): "UTF-16 text separated by tabs; save it as 'CSV UTF-8'",
    HEADER.encode("utf-16-be"): "row 1: holds a NUL character",
    HEADER + "a,1,x\0\n": "row 2: holds a NUL character",
    (HEADER + "a,1,Cl\u00e9").encode("cp1252"): "row 2: byte 0xe9 is not UTF-8",
    b"PK\x03\x04...": "an Excel workbook",
    "\ufeff <!DOCTYPE html>": "a web page",
    b"\xff\xfe\x00binary": "UTF-16 text",
    "": "column 'file' is missing; found an empty file",
    "\u200b\n": "column 'file' is missing; found an empty file",
}  # fmt: skip


@pytest.mark.parametrize(("content", "reason"), REFUSED.items())
def test_a_table_of_another_shape_is_refused_with_its_row(content, reason, tmp_path):
    with pytest.raises(SourceError) as caught:
        read(tmp_path, content, known=("zone",))
    (message,) = str(caught.value).splitlines()
    assert message.startswith(str(tmp_path / "labels.csv"))
    assert reason in message


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(SourceError, match="no such file; add it, or correct the path"):
        label_table.read(tmp_path / "labels.csv", ("file", "patient"))
