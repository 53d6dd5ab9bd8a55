"""A clip: one row with patient, frames, size and labels. A still image is a clip of one frame.

Data, predictions and the input of a second stage are tables of clips with this schema.

Letters: T frames, H rows, W columns.
Why raw bytes: grey frames in LZ4 Parquet pages are read many times faster than PNG or video,
any tool opens them, and nothing is unpickled.
Null means *not annotated*; the only sentinel is -1 inside `biomarkers`, whose other entries may be
annotated.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import UInt8

from lus_ray.errors import SchemaError

Row = dict[str, Any]
"""One clip as a dict with the columns of `SCHEMA`."""

BIOMARKER_GROUPS: dict[str, tuple[str, ...]] = {
    "A-lines": ("none", "weak", "strong", "stacked", "wide"),
    "B-lines": ("none", "few", "some", "many", "white"),
    "B-line origin": ("not applicable", "pleura", "sub-pleura"),
    "pleural thickness": ("< 1 mm", "2-3 mm", "4-5 mm", "> 5 mm"),
    "pleural location": ("top third", "middle third", "bottom third"),
    "pleural indent": ("none", "< 5 mm few", "< 5 mm multiple", "5-10 mm", "> 10 mm"),
    "pleural break": ("none", "< 5 mm few", "< 5 mm multiple", "5-10 mm", "> 10 mm"),
    "consolidation": ("none", "< 5 mm few", "< 5 mm multiple", "5-10 mm", "> 10 mm"),
    "effusion": ("none", "< 5 mm", "> 5 mm"),
}
"""Gare 2022, Figure 2: nine groups, each with several levels that may be present. The third A-line
level is illegible in print and named "strong" here; no metric depends on the name."""

BIOMARKERS: tuple[str, ...] = tuple(
    f"{group}: {level}" for group, levels in BIOMARKER_GROUPS.items() for level in levels
)
"""The 38 biomarkers in the order of the `biomarkers` column."""

ABSENCES = frozenset(b for b in BIOMARKERS if b.endswith((": none", ": not applicable")))
"""Biomarkers that say that a sign is absent."""

PHANTOM = "phantom"
"""The source of simulated clips."""
SYNTHETIC = (PHANTOM, "control")
"""That, and the source of the simpler ones of controls."""

PROBES = ("convex", "linear", "phased")

NUM_SEVERITIES = 4
"""Severity 0-3 (Soldati 2020): A-lines and a regular pleura; an indented pleura with vertical
artefacts; a broken pleura with small consolidations; white lung with or without large ones."""

SF_BINS = ("> 430", "275-430", "180-275", "< 180")
"""Classes of the S/F ratio (oxygen saturation in percent over the inspired fraction)."""

DISEASES = (
    "healthy",
    "COVID-19 pneumonia",
    "interstitial lung disease",
    "asthma or COPD exacerbation",
    "cardiogenic pulmonary oedema",
    "other lung disease",
    "other non-lung disease",
)
"""Gare 2022, section 3."""

ETIOLOGIES = ("bacterial", "viral", "other")
PNEUMONIAS = ("COVID-19 pneumonia", "other lung disease")
"""Diseases that may have an etiology. "Other lung disease" with one is a pneumonia."""

SEXES = ("female", "male")
MOST_AGE, LEAST_BMI, MOST_BMI = 120.0, 5.0, 100.0

MASK_SCHEMES: dict[str, tuple[str, ...]] = {
    "dense": (
        "background",
        "A-line",
        "B-line",
        "healthy pleura",
        "unhealthy pleura",
        "healthy region",
        "unhealthy region",
    ),
    "sparse": ("background", "A-line", "B-line", "pleura"),
    "markers": ("background", "score 0", "score 1", "score 2", "score 3"),
    "bline": ("background", "B-line"),
}
"""Class names by pixel value; 0 is background in every scheme."""

SCHEMA = pa.schema(
    [
        pa.field("clip", pa.string(), nullable=False),
        pa.field("patient", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("group", pa.string(), nullable=False),
        pa.field("probe", pa.string()),
        pa.field("zone", pa.string()),
        pa.field("domain", pa.string()),
        pa.field("site", pa.string()),
        pa.field("device", pa.string()),
        pa.field("exam", pa.string()),
        pa.field("sex", pa.string()),
        pa.field("age", pa.float32()),
        pa.field("bmi", pa.float32()),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("fps", pa.float32()),
        pa.field("mm_per_pixel", pa.float32()),
        pa.field("frames", pa.list_(pa.binary()), nullable=False),
        pa.field("masks", pa.list_(pa.binary())),
        pa.field("mask_scheme", pa.string()),
        pa.field("frame_severity", pa.list_(pa.int8())),
        pa.field("severity", pa.int8()),
        pa.field("raters", pa.list_(pa.int8())),
        pa.field("biomarkers", pa.list_(pa.int8())),
        pa.field("sf_ratio", pa.float32()),
        pa.field("disease", pa.string()),
        pa.field("etiology", pa.string()),
        pa.field("labels", pa.map_(pa.string(), pa.string())),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("signature", pa.binary()),
    ],
    metadata={"lus_ray.schema": "1"},
)
"""`group`: patients that the leak gate joined share one, and folds split groups. `site`: where the
clip was taken; `exam`: one examination of the patient. `age` in years, `bmi` in kg/m2. `frames`:
raw uint8 grey, H x W bytes each. `masks`: raw uint8 class ids of the same size, one per frame.
`etiology`: of a pneumonia. `labels`: labels of one's own, the text of the class by the name of the
label; in rows a dict. `sha256`: of the decoded pixels and their size. `signature`: what the leak
gate compares."""

LATER_COLUMNS = ("site", "device", "exam", "sex", "age", "bmi", "etiology", "labels")
"""Columns that tables of version 0.1 lack; they are read as null."""

PIXEL_COLUMNS = ("frames", "masks")
"""All other columns of a store fit in memory."""
MOST_BYTES = 2**31 - 1
"""Of the frames of a clip: Arrow counts them in 32 bits."""


def sf_class(ratio: float) -> int:
    """Class index in `SF_BINS` of an S/F ratio (SpO2 in percent / FiO2 as a fraction)."""
    return 0 if ratio > 430 else 1 if ratio >= 275 else 2 if ratio >= 180 else 3


def make_row(frames: UInt8[np.ndarray, "T H W"], **columns: Any) -> Row:
    """A checked clip row from decoded frames and named columns.

    `clip`, `patient` and `source` are required; `group` is the patient until the leak gate changes
    it; `masks` is an array (T, H, W) of class ids; missing columns are null. The row has pixels as
    Arrow arrays in the memory of `frames` and `masks`.

    Raises:
        SchemaError: a column is unknown, missing, or out of its range.
    """
    if frames.dtype != np.uint8 or frames.ndim != 3:
        raise SchemaError(
            f"{columns.get('clip')}: frames are {frames.dtype} with shape {frames.shape}; "
            "give uint8 grey frames (time, height, width)"
        )
    masks = columns.pop("masks", None)
    if unknown := sorted(set(columns) - set(SCHEMA.names)):
        raise SchemaError(f"{columns.get('clip')}: unknown columns {unknown}")
    row: Row = {name: columns.get(name) for name in SCHEMA.names}
    row["group"] = row["group"] or row["patient"]
    row["height"], row["width"] = frames.shape[1:]
    row["frames"] = to_arrow(frames)
    row["masks"] = None if masks is None else to_arrow(np.asarray(masks, np.uint8))
    row["sha256"] = hash_pixels(frames)
    check_row(row)
    return row


def to_arrow(pixels: UInt8[np.ndarray, "T H W"]) -> pa.BinaryArray:
    """One binary value per image, in the memory of the images.

    Raises:
        SchemaError: they have more than `MOST_BYTES`.
    """
    content = np.ascontiguousarray(pixels)
    offsets = np.arange(len(content) + 1, dtype=np.int64) * math.prod(content.shape[1:])
    if offsets[-1] > MOST_BYTES:
        raise SchemaError(f"{offsets[-1]} bytes of pixels; a clip has at most {MOST_BYTES}")
    buffers = [None, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(content)]
    return pa.BinaryArray.from_buffers(pa.binary(), len(content), buffers)


def hash_pixels(frames: UInt8[np.ndarray, "T H W"]) -> str:
    """SHA-256 of pixels and shape: equal for equal frames in any container."""
    digest = hashlib.sha256(repr(frames.shape).encode())
    digest.update(np.ascontiguousarray(frames).data)
    return digest.hexdigest()


def frames_of(row: Mapping[str, Any]) -> UInt8[np.ndarray, "T H W"]:
    """The frames of a row as grey values 0-255; a read-only view of a stored row."""
    return _stack(row, "frames")


def masks_of(row: Mapping[str, Any]) -> UInt8[np.ndarray, "T H W"] | None:
    """The masks of a row as class ids of `row["mask_scheme"]`; None if not annotated."""
    return None if row["masks"] is None else _stack(row, "masks")


def check_row(row: Mapping[str, Any]) -> None:
    """Refuse a row that does not fit the schema; labels are never coerced.

    Raises:
        SchemaError: names the clip, the column, the value and what is allowed.
    """

    def refuse(column: str, rule: str) -> None:
        value = repr(row[column])
        value = value if len(value) < 60 else value[:57] + "..."
        raise SchemaError(f"clip {row['clip']!r}: {column} is {value}; {rule}")

    for column in ("clip", "patient", "source", "group", "sha256"):
        if not isinstance(row[column], str) or not row[column].strip() or "\0" in row[column]:
            refuse(column, "a non-empty text is required")
    for column in ("clip", "patient"):
        if not row[column].startswith(row["source"] + "/"):
            refuse(column, f"it must start with {row['source']!r} and a slash")
    for column in (
        "probe", "zone", "domain", "site", "device", "exam", "sex", "mask_scheme", "disease",
        "etiology",
    ):  # fmt: skip
        if row[column] is not None and not isinstance(row[column], str):
            refuse(column, "a text, or null")
    if row["probe"] is not None and row["probe"] not in PROBES:
        refuse("probe", f"use one of {PROBES} or null")
    if not len(row["frames"]):
        refuse("frames", "a clip has at least one frame")
    _check_pixels(row, refuse)
    num_frames = len(row["frames"])
    _check_integers(row, "severity", refuse, high=NUM_SEVERITIES - 1, listed=False)
    _check_integers(row, "frame_severity", refuse, high=NUM_SEVERITIES - 1, length=num_frames)
    _check_integers(row, "raters", refuse, high=NUM_SEVERITIES - 1)
    _check_integers(row, "biomarkers", refuse, low=-1, high=1, length=len(BIOMARKERS))
    for column, highest in (("fps", 10_000.0), ("mm_per_pixel", 100.0), ("sf_ratio", 500.0)):
        if row[column] is not None and not (_is_number(row[column]) and 0 < row[column] <= highest):
            refuse(column, f"a number above 0 and at most {highest:g}, or null")
    for column, low, high in (("age", 0.0, MOST_AGE), ("bmi", LEAST_BMI, MOST_BMI)):
        if row[column] is not None and not (_is_number(row[column]) and low <= row[column] <= high):
            refuse(column, f"a number from {low:g} to {high:g}, or null")
    for column, allowed in (("sex", SEXES), ("disease", DISEASES), ("etiology", ETIOLOGIES)):
        if row[column] is not None and row[column] not in allowed:
            refuse(column, f"use one of {allowed} or null")
    if row["etiology"] is not None and row["disease"] not in PNEUMONIAS:
        refuse("etiology", f"it needs a disease of {PNEUMONIAS}, not {row['disease']!r}")
    _check_labels(row, refuse)


def to_rows(table: pa.Table) -> list[Row]:
    """The rows of a clip table; the one place where Arrow maps become dicts."""
    return list(table.to_pylist(maps_as_pydicts="strict"))


def to_value(scalar: pa.Scalar) -> Any:
    """One value of a clip table, as `to_rows` gives it."""
    return scalar.as_py(maps_as_pydicts="strict")


def fill_columns(table: pa.Table, columns: Sequence[str]) -> pa.Table:
    """These columns in this order; those of `LATER_COLUMNS` that the table lacks are null."""
    for name in columns:
        if name in LATER_COLUMNS and name not in table.column_names:
            field = SCHEMA.field(name)
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table.select(list(columns))


def _stack(row: Mapping[str, Any], column: str) -> UInt8[np.ndarray, "T H W"]:
    pixels = row[column]
    shape = (len(pixels), row["height"], row["width"])
    if isinstance(pixels, pa.BinaryArray):  # read from a store: frames are contiguous
        _, offsets, data = pixels.buffers()
        first = np.frombuffer(offsets, np.int32, count=1, offset=4 * pixels.offset)[0]
        return np.frombuffer(data, np.uint8, count=math.prod(shape), offset=first).reshape(shape)
    return np.frombuffer(bytearray().join(row[column]), np.uint8).reshape(shape)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _check_labels(row: Mapping[str, Any], refuse: Any) -> None:
    labels = row["labels"]
    if labels is None:
        return
    if not isinstance(labels, dict) or not labels:
        refuse("labels", "a dict with an entry per label, or null")
    for entry in (*labels, *labels.values()):
        if not isinstance(entry, str) or not entry.strip():
            refuse("labels", "names and classes are non-empty texts")


def _check_pixels(row: Mapping[str, Any], refuse: Any) -> None:
    size = row["height"] * row["width"]
    if size <= 0 or _image_sizes(row["frames"]) != {size}:
        raise SchemaError(f"clip {row['clip']!r}: a frame does not have height x width bytes")
    if (row["masks"] is None) != (row["mask_scheme"] is None):
        raise SchemaError(f"clip {row['clip']!r}: masks and mask_scheme are given together")
    if row["masks"] is None:
        return
    if row["mask_scheme"] not in MASK_SCHEMES:
        refuse("mask_scheme", f"use one of {tuple(MASK_SCHEMES)}")
    if len(row["masks"]) != len(row["frames"]) or _image_sizes(row["masks"]) != {size}:
        raise SchemaError(f"clip {row['clip']!r}: masks do not match the frames in number and size")
    highest = int(_stack(row, "masks").max())
    if highest >= len(MASK_SCHEMES[row["mask_scheme"]]):
        raise SchemaError(
            f"clip {row['clip']!r}: mask class {highest} is not in scheme {row['mask_scheme']!r}"
        )


def _image_sizes(pixels: pa.BinaryArray | Sequence[bytes]) -> set[int]:
    is_array = isinstance(pixels, pa.BinaryArray)
    return set(pc.binary_length(pixels).to_pylist() if is_array else map(len, pixels))


def _check_integers(
    row: Mapping[str, Any],
    column: str,
    refuse: Any,
    *,
    high: int,
    low: int = 0,
    length: int | None = None,
    listed: bool = True,
) -> None:
    value = row[column]
    if value is None:
        return
    if isinstance(value, list | tuple | np.ndarray) != listed:
        refuse(column, "a list, or null" if listed else "one whole number, or null")
    values = list(value) if listed else [value]
    if length is not None and len(values) != length:
        refuse(column, f"it must have {length} entries")
    for entry in values:
        whole = isinstance(entry, int | np.integer) and not isinstance(entry, bool)
        if not whole or not low <= entry <= high:
            refuse(column, f"whole numbers from {low} to {high}, or null")
