"""Labels of one's own: any categorical column of a table, with its own classes.

A column that its reader does not know is a label where it has 2 to `MOST_CLASSES` values, each a
whole number or a word of at most `LONGEST` characters, and on average `LEAST_CLIPS` rows or more a
value. Empty cells, the words in `patients.NO_NAMES` but "none", and the codes -99 and -96 mean "not
known". Columns that are no label are skipped with a note.

Whole numbers are grades in ascending order; words have no order and are sorted. `--classes`
decides otherwise: "grade=mild<moderate<severe" from least to most, "view=long,short" without an
order. Such a column is a label whatever its values are, and a value that is not listed is refused.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from lus_ray.data.ingest.patients import NO_NAMES
from lus_ray.data.ingest.tables.label_table import MISSING_CODES, TableRow
from lus_ray.data.labels import LABELS, RESERVED, Label
from lus_ray.data.patient_names import fold_name
from lus_ray.errors import SourceError
from lus_ray.suggestions import did_you_mean, find_close

MOST_CLASSES, LEAST_CLIPS, LONGEST = 12, 2, 40
NAME = re.compile(r"[^\W\d_][\w -]{0,39}")
WHOLE = re.compile(r"[+-]?\d{1,9}", re.ASCII)
USAGE = "write NAME=A<B<C for grades from least to most, or NAME=A,B,C for classes without an order"


def parse_classes(texts: Sequence[str]) -> dict[str, Label]:
    """Labels as `--classes` gives them.

    Raises:
        SourceError: a text is not NAME=A<B<C or NAME=A,B,C, or a class or a name is there twice.
    """
    labels: dict[str, Label] = {}
    for text in texts:
        name, _, listed = (part.strip() for part in text.partition("="))
        ordered = "<" in listed
        parts = [part.strip() for part in listed.split("<" if ordered else ",")]
        if not name or not all(parts) or len(parts) < 2 or (ordered and "," in listed):
            raise SourceError(f"--classes {text!r}: {USAGE}")
        classes = tuple(own for part in parts if (own := parse_class(part)) is not None)
        if len(classes) < len(parts):
            unknown = next(part for part in parts if parse_class(part) is None)
            raise SourceError(
                f"--classes {text!r}: {unknown!r} means not known and is no class; leave it out"
            )
        if twice := [value for value, times in Counter(classes).items() if times > 1]:
            raise SourceError(f"--classes {text!r}: {twice[0]!r} is listed twice; list it once")
        if name in labels:
            raise SourceError(f"--classes: label {name!r} is given twice; give it once")
        labels[name] = Label(name, classes, ordered)
    return labels


def find_label(name: str, rows: Sequence[TableRow], given: Label | None = None) -> Label | str:
    """The label that a column is, with its classes, or the reason why it is none.

    Raises:
        SourceError: the column is a label, but a name or a value of it cannot be used.
    """
    if reason := _check_name(name):
        if given is not None or fold_name(name) in LABELS:
            raise SourceError(f"column {name!r}: {reason}")
        return reason
    cells = [(row, value) for row in rows if (value := read_class(row, name)) is not None]
    values = Counter(value for _, value in cells)
    if given is not None:
        for row, value in cells:
            if value not in given.classes:
                close = did_you_mean(find_close(value, given.classes))
                remedy = close or f"; --classes lists {', '.join(given.classes)}"
                raise SourceError(f"{row.where}: {name!r} is {value!r}{remedy}")
        return given
    if reason := _check_values(values):
        return reason
    folded: dict[str, str] = {}
    for value in sorted(values):
        if (other := folded.setdefault(fold_name(value), value)) != value:
            raise SourceError(
                f"column {name!r} has the classes {other!r} and {value!r}; write one of them"
            )
    if all(map(WHOLE.fullmatch, values)):
        return Label(name, tuple(sorted(values, key=int)), ordered=True)
    return Label(name, tuple(sorted(values)))


def read_class(row: TableRow, name: str) -> str | None:
    """The class in a cell, or None where it is not known."""
    return parse_class(row.cells[name])


def parse_class(text: str) -> str | None:
    """The class that a text names; a whole number is written without sign, zeros or a point."""
    text = " ".join(text.split())
    if not text or (text.casefold() in NO_NAMES and text.casefold() != "none"):
        return None
    number = re.sub(r"\.0*$", "", text)
    if not WHOLE.fullmatch(number):
        return text
    return None if float(number) in MISSING_CODES else str(int(number))


def describe(labels: Mapping[str, Label]) -> dict[str, dict[str, object]]:
    """Labels as `store.json` holds them."""
    return {
        name: {"classes": list(label.classes), "ordered": label.ordered}
        for name, label in labels.items()
    }


def _check_name(name: str) -> str:
    if fold_name(name) in RESERVED or name.endswith(" masks"):
        return f"the name {name!r} is used by lus for something else; rename the column"
    if not NAME.fullmatch(name):
        return (
            "a label's name starts with a letter and has at most 40 letters, digits, -, _ or blanks"
        )
    return ""


def _check_values(values: Counter[str]) -> str:
    if not 2 <= len(values) <= MOST_CLASSES:
        found = f"{len(values)} value{'' if len(values) == 1 else 's'}"
        return f"it has {found}, and a label has 2 to {MOST_CLASSES} classes"
    for value in values:
        is_word = any(map(str.isalpha, value)) and len(value) <= LONGEST and value.isprintable()
        if not is_word and not WHOLE.fullmatch(value):
            shown = value if len(value) <= LONGEST else value[: LONGEST - 3] + "..."
            return f"{shown!r} is neither a whole number nor a word of at most {LONGEST} characters"
    if values.total() < LEAST_CLIPS * len(values):
        return (
            f"{len(values)} values in {values.total()} rows are fewer than {LEAST_CLIPS} clips a "
            "class on average"
        )
    return ""
