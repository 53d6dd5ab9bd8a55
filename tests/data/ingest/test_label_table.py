import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lus_ray.data.ingest import label_table
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


@pytest.mark.parametrize("text", ["nan", "NaN", "inf", "-1", "4", "1.5", "two", "1,0", "0x1"])
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


def test_blanks_around_cells_a_byte_order_mark_and_short_rows_are_accepted(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("\ufefffile , patient,zone\n a b.mp4,7 \n\n,,\n", encoding="utf-8")
    header, rows = label_table.read(path, ("file", "patient"))
    assert header == ["file", "patient", "zone"]
    assert [row.cells for row in rows] == [{"file": "a b.mp4", "patient": "7", "zone": ""}]
    assert rows[0].where == "labels.csv row 2"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"file,who\na.mp4,7\n", r"labels\.csv: column 'patient' is missing; found 'file'"),
        (b"\xff\xfe\x00binary", r"labels\.csv"),
        (b"file,patient\na\x00b,1\n", r"labels\.csv"),
        (None, "no such file"),
    ],
)
def test_a_table_without_its_columns_or_without_text_is_refused(content, reason, tmp_path):
    if content is not None:
        (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(SourceError, match=reason):
        label_table.read(tmp_path / "labels.csv", ("file", "patient"))
