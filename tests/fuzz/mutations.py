"""Damage of one source folder, drawn from a generator of numbers; every step is described."""

import csv
import io
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import dcmread

from tests.fuzz.sources import Source

Rng = np.random.Generator
ODD_TEXTS = (
    "", " ", "-1", "0", "1", "3", "4", "1,5", "1e9", "nan", "inf", "yes", "2;", "0x99", "None",
    "p-000 ", "P\u2011000", "é", "e\u0301", "a\0b", "x\ny", '"', "=1+1", "../up", "/etc/hostname",
    "COVID-19", "Convex", "\ufeff1", "1_0", "0x7", "٣",
)  # fmt: skip
"""Boundary values, other spellings and characters that tables do not expect."""
ODD_NAMES = ("new.dcm", "ne\u0301w.mp4", "x", ".hidden", "a b.png", "new.1")
ELEMENTS = {
    "BitsStored": (7, 12, 8, 16),
    "BitsAllocated": (16, 1, 32),
    "HighBit": (6, 15, 0),
    "PhotometricInterpretation": ("MONOCHROME1", "RGB", "YBR_FULL_422", "PALETTE COLOR"),
    "NumberOfFrames": (0, 1, 3, 5, 40),
    "Rows": (24, 47, 96, 0),
    "Columns": (32, 63, 65),
    "SamplesPerPixel": (3, 2),
    "PixelRepresentation": (1,),
    "PatientID": ("", "other"),
    "FrameTime": (0.0, -1.0, 1e-9, 1e9),
    "WindowCenter": (128.0,),
}
"""DICOM elements and odd values for them."""


def mutate(source: Source, rng: Rng) -> None:
    """Apply one to three mutations and describe them in `source.steps`."""
    kinds = [change_bytes, change_bytes, change_tree]
    kinds += [change_cells] * 2 if source.tables else []
    if any(picture.form in ("dcm", "rle.dcm") for picture in source.pictures.values()):
        kinds.append(change_element)
    for _ in range(int(rng.integers(1, 4))):
        source.steps.append(_choose(rng, kinds)(source, rng))


def change_bytes(source: Source, rng: Rng) -> str:
    """Damage the bytes of one file: some bits, or a block of up to 4096 bytes."""
    paths = [source.root / file for file in sorted({*source.pictures, *source.used})]
    path = _choose(rng, [path for path in paths if path.is_file() and path.stat().st_size])
    name = path.resolve().relative_to(source.root.resolve()).as_posix()
    content = path.read_bytes()
    size, noise = len(content), rng.bytes(4096)
    start, other = sorted(rng.integers(0, size, 2).tolist())
    if rng.random() < 0.2:
        start %= 200  # the header
    end = start + min(int(2 ** rng.uniform(0, 12)), size)
    head, block, tail = content[:start], content[start:end], content[end:]
    flipped = bytes([block[0] ^ (1 << int(rng.integers(8)))])
    changes = {
        "flip a bit": head + flipped + block[1:] + tail,
        "overwrite": head + noise[: len(block)] + tail,
        "zero": head + bytes(len(block)) + tail,
        "truncate": head,
        "insert noise before": head + noise[: len(block)] + block + tail,
        "delete": head + tail,
        "repeat": head + block + block + tail,
        "append noise after all of": content + noise[: len(block)],
        "move to the end": head + tail + block,
        "exchange with what follows": head + tail[: other - start] + block + tail[other - start :],
    }
    kind = _choose(rng, changes)
    if changes[kind] != content:
        path.write_bytes(changes[kind])
        source.damaged.add(name)
    return f"{kind} bytes {start} to {end} of {size} in {name}"


def change_cells(source: Source, rng: Rng) -> str:
    """Change one table as people and spreadsheets do."""
    name = _choose(rng, source.tables)
    path = source.root / name
    try:
        header, *rows = csv.reader(io.StringIO(path.read_text("utf-8"), newline=""))
        row, at = _choose(rng, rows), int(rng.integers(len(header)))
        before, text, another = row[at], _choose(rng, ODD_TEXTS), _choose(rng, rows)
        spellings = (before.swapcase(), f" {before}  ", before.replace("-", "\u00a0"), text, text)
        title = _choose(rng, (header[at].upper(), header[at][:-1], "note", "", header[0]))
        kind = _choose(
            rng,
            ("spell", "spell", "spell", "double the row of", "drop the row of", "lack",
             "add before",
             "exchange with another row", "rename the column of", "delimit otherwise", "mark in"),
        )  # fmt: skip
        match kind:
            case "spell":
                row[at] = _choose(rng, spellings)
            case "double the row of":
                rows.append(list(row))
            case "drop the row of":
                rows.remove(row)
            case "lack":
                del row[at]
            case "add before":
                row.insert(at, text)
            case "exchange with another row":
                row[at], another[at] = another[at], row[at]
            case "rename the column of":
                header[at] = title
    except (csv.Error, ValueError, IndexError):
        return f"nothing, as {name} is no table any more"
    table = io.StringIO()
    delimiter = _choose(rng, ";\t|") if kind == "delimit otherwise" else ","
    csv.writer(table, lineterminator="\n", delimiter=delimiter).writerows([header, *rows])
    content, cut = table.getvalue(), int(rng.integers(len(table.getvalue())))
    if kind == "mark in":
        content = content[:cut] + _choose(rng, '",\n\r\0') + content[cut:]
    path.write_text(content, "utf-8", newline="")
    return f"{kind} {before!r} in column {at} of {name}, now {row}"


def change_tree(source: Source, rng: Rng) -> str:
    """Exchange, rename, copy, link, remove or add files."""
    root, pictures = source.root, source.pictures
    whole = [file for file in sorted(pictures) if not (root / file).is_symlink()]
    name, other = _choose(rng, whole), _choose(rng, whole)
    new = (Path(name).parent / _choose(rng, ODD_NAMES)).as_posix()
    path, target = root / name, root / new
    kind = _choose(
        rng, ("exchange", "rename", "copy", "remove", "link", "dangling", "junk", "folder", "loop")
    )
    if os.path.lexists(target) or os.path.lexists(path.parent / "again"):
        return "nothing"
    match kind:
        case "exchange":
            source.move(name, "held")
            if other != name:
                source.move(other, name)
            source.move("held", other)
        case "rename":
            source.move(name, new)
        case "copy" | "link":
            source.inherit(name, new)
            target.symlink_to(path) if kind == "link" else target.write_bytes(path.read_bytes())
        case "remove":
            path.unlink()
            del pictures[name]
        case "dangling":
            target.symlink_to(root / "nowhere")
        case "junk":
            target.write_bytes(_choose(rng, (b"", b"<html>", b"text", bytes(500))))
        case "folder" | "loop":
            (path.parent / "again").symlink_to(root if kind == "loop" else path.parent)
    return f"{kind} {name} (new {new}, other {other})"


def change_element(source: Source, rng: Rng) -> str:
    """Change what the header of a DICOM file says of its pixels."""
    files = [file for file, p in source.pictures.items() if p.form in ("dcm", "rle.dcm")]
    element = _choose(rng, ELEMENTS)
    value = _choose(rng, ELEMENTS[element])
    try:
        name = _choose(rng, sorted(files))
        with warnings.catch_warnings(action="ignore"):
            dataset = dcmread(source.root / name)
            setattr(dataset, element, value)
            if element == "WindowCenter":
                dataset.WindowWidth = 100.0
            dataset.save_as(source.root / name)
    except Exception as error:  # no file is left, or it is damaged
        return f"nothing, as {element} cannot be changed ({type(error).__name__})"
    source.elements.setdefault(name, {})[element] = value
    return f"{element} {value!r} in {name}"


def _choose(rng: Rng, options: Any) -> Any:
    options = list(options)
    return options[int(rng.integers(len(options)))]
