import csv
import io

import pytest

from lus_ray.report import table_files
from lus_ray.report.blocks import Cell, Details, Document, Section, Table
from lus_ray.runs.layout import TABLES

SCORES = Table(
    "main severity",
    "Severity",
    ("Arm", "AUC, %"),
    (
        (Cell("a & b_1"), Cell("81.5 ± 1.0", ("[78.0, 84.2]",), {"": 81.5, "std": 1.0})),
        (Cell("none"), Cell("missing")),
    ),
)


def test_csv_has_a_column_per_number():
    rows = list(csv.reader(io.StringIO(table_files.to_csv(SCORES))))
    assert rows == [
        ["Arm", "AUC, %", "AUC, % std"],
        ["a & b_1", "81.5", "1"],
        ["none", "missing", ""],
    ]


def test_a_column_without_numbers_keeps_its_texts():
    table = Table(
        "t", "", ("Claim", "Verdict"), ((Cell("x"), Cell("undecided")), (Cell("y"), Cell("–")))
    )
    assert table_files.to_csv(table) == "Claim,Verdict\nx,undecided\ny,\n"


def test_latex_is_a_tabular_for_booktabs_with_escaped_texts():
    assert table_files.to_latex(SCORES).splitlines()[1:] == [
        r"\begin{tabular}{lr}", r"\toprule", r"Arm & AUC, \% \\", r"\midrule",
        r"a \& b\_1 & 81.5 $\pm$ 1.0 ([78.0, 84.2]) \\", r"none & missing \\", r"\bottomrule",
        r"\end{tabular}",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "escaped"),
    [("100 %", r"100 \%"), ("\\x{$}", r"\textbackslash{}x\{\$\}"), ("a→b", r"a$\rightarrow$b")],
)
def test_special_letters_are_escaped(text, escaped):
    assert table_files.escape(text) == escaped


def test_folded_tables_are_written_and_those_of_an_earlier_report_removed(tmp_path):
    folder = tmp_path / TABLES
    folder.mkdir()
    (folder / "old.csv").write_text("")
    (folder / "mine.txt").write_text("kept")
    document = Document("", (), (Section("", "a", (Details("", (SCORES,)),)),))
    table_files.write(document, folder)
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["main_severity.csv", "main_severity.tex", "mine.txt"]
