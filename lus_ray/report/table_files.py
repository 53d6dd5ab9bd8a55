"""The tables of a document as CSV (numbers) and LaTeX (as printed), one file each.

tables/<name>.csv    percent; a score has further columns: std, low, high, paper, difference
tables/<name>.tex    a tabular for the package booktabs, with all texts escaped
"""

import csv
import io
import re
from pathlib import Path

from lus_ray.report.blocks import Cell, Document, Table
from lus_ray.report.formatting import ABSENT
from lus_ray.storage.files import write_text

ENDINGS = (".csv", ".tex")
TEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "%": r"\%", "_": r"\_", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "±": r"$\pm$", "−": r"$-$", "–": "--", "→": r"$\rightarrow$", "Δ": r"$\Delta$",
    "×": r"$\times$", "²": r"$^2$",
}  # fmt: skip


def write(document: Document, folder: Path) -> None:
    """Write every table with a row, and remove those of an earlier report."""
    texts = {}
    for table in document.tables():
        if table.rows and table.name:
            texts[f"{_stem(table.name)}.csv"] = to_csv(table)
            texts[f"{_stem(table.name)}.tex"] = to_latex(table)
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        if path.suffix in ENDINGS and path.name not in texts:
            path.unlink()
    for name, text in texts.items():
        write_text(folder / name, text)


def to_csv(table: Table) -> str:
    """Rows of numbers, or of texts where a column has none."""
    columns = [
        _columns(title, [row[k] for row in table.rows]) for k, title in enumerate(table.columns)
    ]
    buffer = io.StringIO()
    lines = csv.writer(buffer, lineterminator="\n")
    lines.writerow([f"{title} {key}".strip() for own in columns for title, key in own])
    for row in table.rows:
        lines.writerow(
            [_value(cell, key) for cell, own in zip(row, columns, strict=True) for _, key in own]
        )
    return buffer.getvalue()


def to_latex(table: Table) -> str:
    columns = "l" + "r" * (len(table.columns) - 1)
    lines = [
        rf"% {' '.join((table.title or table.name).split())}; needs \usepackage{{booktabs}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        _line(table.columns),
        r"\midrule",
        *(_line([_joined(cell) for cell in row]) for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    return "".join(TEX.get(letter, letter) for letter in text)


def _stem(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _columns(title: str, cells: list[Cell]) -> list[tuple[str, str]]:
    """Title and key of each column of numbers; the key "" is the cell itself."""
    keys = dict.fromkeys(key for cell in cells for key in cell.numbers)
    known = {k for k in keys if any(cell.numbers.get(k) is not None for cell in cells)}
    return [(title, key) for key in keys if key in known] or [(title, "")]


def _value(cell: Cell, key: str) -> str:
    if cell.numbers or key:
        value = cell.numbers.get(key)
        return "" if value is None else f"{value:.6g}"
    return "" if cell.text == ABSENT else cell.text


def _joined(cell: Cell) -> str:
    remarks = f" ({'; '.join(cell.remarks)})" if cell.remarks else ""
    return cell.text + remarks


def _line(texts: tuple[str, ...] | list[str]) -> str:
    return " & ".join(map(escape, texts)) + r" \\"
