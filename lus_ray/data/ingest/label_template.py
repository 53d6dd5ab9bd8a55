"""The table of labels of a folder before anybody has filled it in, with a guide beside it.

    lus ingest folder ROOT --init     writes ROOT/labels.csv and ROOT/labels.txt

Why the patient stays empty: a folder may hold the clips of a person, of a day or of a class, and a
wrong patient leaks test patients into training unseen. `patient_folders` fills it where each folder
below ROOT is one person; the caller says so.
"""

import csv
import io
import textwrap
from dataclasses import dataclass
from pathlib import Path

from lus_ray.clip import BIOMARKERS
from lus_ray.data.ingest.folder import COLUMNS, GUIDE, TABLE
from lus_ray.data.ingest.source_files import is_clip_file, list_files
from lus_ray.data.ingest.tables import own_labels
from lus_ray.data.ledger import escape_name
from lus_ray.errors import InputError, SourceError
from lus_ray.storage.files import write_text

WRITTEN = (
    "file", "patient", "probe", "zone", "exam", "site", "device", "sex", "age", "bmi", "severity",
    "disease", "etiology",
)  # fmt: skip
"""Columns of a new table; the others may be added."""

FIRST_LINE = f"The columns of {TABLE}\n"
GUIDE_TEXT = """
One row is one clip: a video, or a still image. Delete the rows of files that are no clips, as masks
are. Save the table as CSV, UTF-8, separated by commas. An empty cell means "not known": leave out
what you do not know, and delete columns that you do not need. Names of people do not belong here.

{known}

A label of your own
  Add a column with any name that starts with a letter, and write one class per clip in it, as
  "good", "poor". It is a label if it has 2 to {most} classes, each a whole number or a word of
  at most {longest} characters, and on average at least {least} clips a class. Whole numbers are
  grades in ascending order. Words have no order; give them one with
    lus ingest folder ROOT STORE --classes "NAME=mild<moderate<severe"
  or list classes without an order, of which no other is then allowed, with
    lus ingest folder ROOT STORE --classes "NAME=long,short"
  Any other column is skipped, and the ledger says why.

Biomarkers
  Each of these is a column as well: 1 for present, 0 for absent, empty for not judged.
{biomarkers}
"""


@dataclass(frozen=True)
class LabelTemplate:
    """What was written; `num_folders` hold all files, 0 where a file lies in `root` itself."""

    root: Path
    num_files: int
    num_folders: int
    has_patients: bool
    unlisted: tuple[str, ...]

    def text(self) -> str:
        table, root = self.root / TABLE, self.root
        lines = [
            f"{table}: {self.num_files} files, one row each; fill in the columns that you have",
            f"{root / GUIDE}: what each column holds, and how to add a label of your own",
        ]
        if self.unlisted:
            more = f" and {len(self.unlisted) - 1} more" if len(self.unlisted) > 1 else ""
            lines.append(f"not listed: {self.unlisted[0]}{more}; give them plain names")
        if self.has_patients:
            lines.append(f"patient: the name of the folder, {self.num_folders} patients")
        elif self.num_folders > 1:
            lines.append(
                f"patient is empty: if each of the {self.num_folders} folders is one person, "
                f"delete {table} and add --patient-folders"
            )
        else:
            lines.append("patient is empty: write one name for all clips of a person")
        return "\n".join([*lines, f"next: lus ingest folder {root} STORE"])


def write_template(root: Path, *, patient_folders: bool = False) -> LabelTemplate:
    """Write the table and the guide for every image and video below a folder.

    Raises:
        InputError: the table or another file of the guide's name exists, or they cannot be
            written; or, with `patient_folders`, a file lies in no folder below `root`.
        SourceError: there is no such folder, or it holds no image and no video.
    """
    if not root.is_dir():
        raise SourceError(f"{root}: no such folder; give the folder that holds the clips")
    table = root / TABLE
    if table.exists():
        raise InputError(f"{table}: exists and is not overwritten; move it away for a new one")
    guide = root / GUIDE
    if guide.exists() and not guide.read_text(errors="replace").startswith(FIRST_LINE):
        raise InputError(f"{guide}: exists and is no guide of lus; move it away for a new one")
    names = [path.relative_to(root).as_posix() for path in list_files(root) if _is_clip(path)]
    listed = [name for name in names if _can_be_listed(name)]
    if not listed:
        raise SourceError(f"{root}: no image and no video below it; give the folder of the clips")
    folders = [name.partition("/")[0] if "/" in name else "" for name in listed]
    if patient_folders and not all(folders):
        loose = listed[folders.index("")]
        raise InputError(
            f"--patient-folders: {loose!r} lies in no folder below {root}; move it into one"
        )
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(WRITTEN)
    for name, folder in zip(listed, folders, strict=True):
        rows.writerow([name, folder if patient_folders else "", *[""] * (len(WRITTEN) - 2)])
    try:
        write_text(guide, describe_columns())
        # Without the mark, spreadsheets read names with accents wrongly.
        write_text(table, ("" if text.getvalue().isascii() else "\ufeff") + text.getvalue())
    except OSError as error:
        raise InputError(f"{table}: not written: {error.strerror}; make {root} writable") from error
    return LabelTemplate(
        root=root,
        num_files=len(listed),
        num_folders=len(set(folders)) if all(folders) else 0,
        has_patients=patient_folders,
        unlisted=tuple(escape_name(name) for name in names if name not in set(listed)),
    )


def describe_columns() -> str:
    """The guide: every known column with its values, and labels of one's own."""
    width = max(map(len, COLUMNS)) + 2
    known = "\n".join(
        textwrap.fill(f"{name:{width}}{text}", 100, subsequent_indent=" " * width)
        for name, text in COLUMNS.items()
    )
    biomarkers = "\n".join(f"  {name}" for name in BIOMARKERS)
    return FIRST_LINE + GUIDE_TEXT.format(
        known=known, biomarkers=biomarkers, most=own_labels.MOST_CLASSES,
        longest=own_labels.LONGEST, least=own_labels.LEAST_CLIPS,
    )  # fmt: skip


def _is_clip(path: Path) -> bool:
    try:
        return is_clip_file(path)
    except OSError:  # the ingest names it
        return True


def _can_be_listed(name: str) -> bool:
    """Whether a cell of the table leads to the file again."""
    return escape_name(name) == name and name == name.strip() and "\\" not in name
