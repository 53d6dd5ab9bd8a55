"""What must be true of a store after an ingest, whatever the source folder holds."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from lus_ray.clip import MASK_SCHEMES, frames_of, masks_of
from lus_ray.data.ledger import LedgerEntry
from lus_ray.data.ledger import read as read_ledger
from tests.fuzz import strict_tables
from tests.fuzz.pictures import EXACT, LEVELS, UNCHECKED, Picture, block_means, read_bits
from tests.fuzz.sources import Source

TABLES = {"folder": "labels.csv", "covid_blues": "severity.csv", "pocovid": "dataset_metadata.csv"}
HARMLESS = ("PatientID", "FrameTime")
"""Elements of DICOM that say nothing of the values of the pixels."""


@dataclass
class Outcome:
    """Counts of one example, and its `failures`: broken invariants, each as one line.

    `unnoticed`: by format, a damaged file that was stored wrongly and that FFmpeg, too, decodes
    without a word.
    """

    stored: int = 0
    skipped: int = 0
    repaired: int = 0
    refused: str = ""
    unnoticed: dict[str, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


def read_store(store: Path) -> list[dict[str, Any]]:
    """All rows of a store, sorted by clip; none without a store."""
    files = sorted((store / "clips").glob("*.parquet"))
    rows = [row for file in files for row in pq.read_table(file).to_pylist()]
    return sorted(rows, key=lambda row: row["clip"])


def check(source: Source, rows: list[dict[str, Any]], store: Path, outcome: Outcome) -> None:
    """Compare the rows of a store and its ledger with the source folder."""
    ledger = read_ledger(store / "ledger.jsonl")
    outcome.stored = len(rows)
    outcome.skipped = sum(entry.action == "skipped" for entry in ledger)
    outcome.repaired = sum(entry.action == "repaired" for entry in ledger)
    stored_files = set()
    for row in rows:
        file = _check_clip(source, row, ledger, outcome)
        if file is not None:
            stored_files.add(file)
    outcome.failures += _check_groups(rows)
    outcome.failures += _check_completeness(source, stored_files, ledger)


def _check_clip(
    source: Source, row: dict[str, Any], ledger: list[LedgerEntry], outcome: Outcome
) -> str | None:
    """Check one clip and return the file that it was read from."""
    name, frames = row["clip"], frames_of(row)
    candidates = _files_of(source, name)
    codes = {code for code in read_bits(frames, 0) if code} if frames.shape[1:] == (48, 64) else {0}
    known = {picture.code: picture for picture in source.pictures.values()}
    files = [file for file in candidates if source.pictures[file].code in codes] or candidates
    if not files:
        outcome.failures.append(f"origin: {name} belongs to no file of the source")
        return None
    file = files[0]
    picture = source.pictures[file]
    if others := codes & set(known) - {picture.code}:
        outcome.failures.append(
            f"identity: {name} ({file}) shows the file of code {others}, not {picture.code}"
        )
    entries = [entry for entry in ledger if entry.item in (name, file)]
    _check_pixels(source, file, picture, frames, entries, outcome)
    removed = _removed_frames(entries)
    if row["masks"] is not None:
        _check_masks(source, row, picture, removed, outcome)
    outcome.failures += _check_labels(source, file, row, removed)
    return file


def _removed_frames(entries: list[LedgerEntry]) -> list[int]:
    """Numbers of the damaged frames that were removed, with their grades and masks."""
    found = [re.search(r"removed frames? ([\d, -]+) of", entry.reason) for entry in entries]
    parts = [part for match in found if match for part in match[1].split(", ")]
    ranges = [[int(end) for end in part.split("-")] for part in parts]
    return [number for ends in ranges for number in range(ends[0], ends[-1] + 1)]


def _files_of(source: Source, clip: str) -> list[str]:
    """Files that a clip may come from: its name is their path, often without folder and suffix."""
    wanted = clip.partition("/")[2]
    files = [file for file in source.pictures if (source.root / file).is_file()]
    exact = [file for file in files if file == wanted]
    stems = [file for file in files if str(Path(file).with_suffix("")) == wanted]
    ends = [file for file in files if wanted in (Path(file).stem, Path(file).name)]
    return exact or stems or ends


def _check_pixels(
    source: Source, file: str, picture: Picture, frames: np.ndarray, entries: list[LedgerEntry],
    outcome: Outcome,
) -> None:  # fmt: skip
    truth, elements = picture.frames, source.elements.get(file, {})
    if elements.get("PhotometricInterpretation") == "MONOCHROME1":
        truth = 255 - truth
    if "WindowCenter" in elements:
        levels = ((truth - 127.5) / 99 + 0.5) * 255
        truth = np.clip(levels, 0, 255).astype(np.uint8)
    real = {str((source.root / name).resolve()) for name in source.damaged}
    is_damaged = str((source.root / file).resolve()) in real
    num_intact = _count_intact(frames, truth, picture.form)
    if num_intact == len(truth) == len(frames):
        return
    found = f"{file} ({picture.form}): {num_intact} right of {len(frames)} stored frames, " \
            f"{len(truth)} before the damage"  # fmt: skip
    odd_elements = set(elements) - {*HARMLESS, "WindowCenter", "PhotometricInterpretation"}
    if not is_damaged and not odd_elements:
        outcome.failures.append(f"pixels: {found}; the file is whole")
        return
    if any(entry.action == "repaired" for entry in entries):
        if 2 * num_intact < len(frames) and picture.form not in UNCHECKED:
            outcome.failures.append(f"repaired: {found}")
        return
    if odd_elements and not is_damaged:
        if not entries:
            outcome.failures.append(f"elements: {found}, without a word on {sorted(odd_elements)}")
    elif picture.form not in UNCHECKED and _is_noticed(source.root / file):
        outcome.failures.append(f"damage: {found}, without a word, but FFmpeg reports errors")
    else:
        outcome.unnoticed[picture.form] = found


def _count_intact(frames: np.ndarray, truth: np.ndarray, form: str) -> int:
    """Number of stored frames that equal the true frame of their number."""
    if frames.shape[1:] != truth.shape[1:]:
        return 0
    numbers = read_bits(frames, 2)
    if len(frames) == len(truth):
        numbers = list(range(len(truth)))
    means, true_means, num_intact = block_means(frames), block_means(truth), 0
    for at, number in enumerate(numbers):
        if number is None or number >= len(truth):
            continue
        if form in EXACT:
            num_intact += np.array_equal(frames[at], truth[number])
        else:
            num_intact += bool(np.abs(means[at] - true_means[number]).max() <= LEVELS)
    return num_intact


def _is_noticed(path: Path) -> bool:
    """Whether FFmpeg's own check, `ffmpeg -v error`, has anything to say of a file."""
    command = [sys.executable, "-m", "tests.fuzz.ffmpeg_errors", str(path)]
    return subprocess.run(command, timeout=60, capture_output=True).returncode != 0


def _check_masks(
    source: Source, row: dict[str, Any], picture: Picture, removed: list[int], outcome: Outcome
) -> None:
    masks, truth = masks_of(row), source.masks.get(picture.code)
    assert masks is not None
    if masks.max(initial=0) >= len(MASK_SCHEMES[row["mask_scheme"]]):
        outcome.failures.append(f"masks: {row['clip']} has class {masks.max()}")
    cells = _rows_of(source, _files_of(source, row["clip"])[0])
    kind = next((k for k in ("mask", "polygons", "coco") for c in cells if c.get(k)), "")
    hurt = [f for f in source.damaged if f in source.used and f not in source.tables]
    if kind != "mask" and any(f.endswith(".json") for f in hurt):
        return  # JSON has no checksum
    if truth is None or not np.array_equal(masks, np.delete(truth, removed, axis=0)):
        if not any(c.get(kind, "").endswith(f" {picture.code}") for c in cells):
            return  # the row names the masks of another file
        outcome.failures.append(f"masks: {row['clip']} differs from its {kind}; damaged: {hurt}")


def _rows_of(source: Source, file: str) -> list[dict[str, str]]:
    """The sound rows of the reader's table that name a file."""
    rows = strict_tables.read_rows(source.root / TABLES[source.reader])
    path = (source.root / file).resolve()
    if source.reader == "folder":
        return [
            row for row in rows
            if row.get("file") and (source.root / row["file"]).resolve() == path
        ]  # fmt: skip
    column = {"covid_blues": "video_file", "pocovid": "Filename"}[source.reader]
    return [row for row in rows if row.get(column) == Path(file).stem]


def _check_labels(source: Source, file: str, row: dict[str, Any], removed: list[int]) -> list[str]:
    clip, patient = row["clip"], row["patient"].partition("/")[2]
    if source.reader == "dicom":
        parts = Path(file).parts
        wrong = len(parts) > 1 and strict_tables.same_person(parts[0]) != patient.casefold()
        return [f"patient: {clip} is of {patient!r}, not of {parts[0]!r}"] if wrong else []
    cells = _rows_of(source, file)
    if len(cells) != 1:
        return [f"rows: {clip} is stored, but {len(cells)} sound rows name {file}"]
    if source.reader == "covid_blues":
        owner = Path(file).stem.split("_")[1]
    else:
        owner = cells[0].get(
            {"folder": "patient", "pocovid": "Patient ID / Name"}[source.reader], ""
        )
    failures = [
        f"labels: {clip}: {text}"
        for text in strict_tables.find_differences(source.reader, row, cells[0], removed)
    ]
    if strict_tables.same_person(owner) != strict_tables.same_person(patient):
        failures.append(f"patient: {clip} is of {patient!r}, not of {owner!r}")
    return failures


def _check_groups(rows: list[dict[str, Any]]) -> list[str]:
    groups: dict[str, set[str]] = {}
    for row in rows:
        groups.setdefault(strict_tables.same_person(row["patient"]), set()).add(row["group"])
    return [
        f"groups: patient {patient!r} is split into {sorted(names)}"
        for patient, names in groups.items()
        if len(names) > 1
    ]


def _check_completeness(source: Source, stored: set[str], ledger: list[LedgerEntry]) -> list[str]:
    """Each file and each link to a folder is stored, was read as an annotation, or has a row."""
    failures, items = [], {entry.item for entry in ledger}
    for folder, folders, names in os.walk(source.root):
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        for name in (*names, *links):
            file = Path(folder, name).relative_to(source.root).as_posix()
            below = any(item.startswith(f"{file}/") for item in items)
            if not (file in source.used or file in stored or file in items or below):
                failures.append(f"completeness: {file} is neither stored nor in the ledger")
    return failures
