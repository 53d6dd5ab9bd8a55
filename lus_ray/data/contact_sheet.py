"""The page of a check: findings, copies, and example frames by source and class."""

import base64
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
from jaxtyping import UInt8
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy import ndarray
from PIL import Image

from lus_ray.clip import frames_of, to_rows
from lus_ray.data import store
from lus_ray.data.duplicates.groups import DuplicatePair
from lus_ray.data.labels import LABELS, Label, label_name
from lus_ray.storage.paths import PathOrUri

NUM_EXAMPLES = 2
"""Images per source and class, of different patients."""
LONGER_SIDE = 220
NO_CLASS = "not annotated"

Clip = tuple[str, str, tuple[str, str, str, int, int]]
"""Source and class of a clip, and its patient, name, shard, row group and row."""


@dataclass(frozen=True)
class Example:
    clip: str
    source: str
    label: str
    png: str


@dataclass(frozen=True)
class Sheet:
    """Examples by source and by the classes of a label."""

    title: str
    classes: tuple[str, ...]
    examples: tuple[Example, ...]


def make_sheet(path: PathOrUri, index: pa.Table, own: Mapping[str, Label]) -> Sheet:
    """Middle frames of a few clips of each source and class, of different patients.

    The label is the severity, or the first own label or the disease where no clip has one.
    """
    label, values = _choose_label(index, own)
    columns = ("patient", "clip", "shard", "row_group", "row")
    located = zip(*(index[name].to_pylist() for name in columns), strict=True)
    chosen = list(_chosen(zip(index["source"].to_pylist(), values, located, strict=True)))
    locations = [location[1:] for *_, location in chosen]
    rows = store.read_located(path, locations, columns=["frames", "height", "width"])
    examples = tuple(
        Example(location[1], source, value, _png(frames_of(row)[len(row["frames"]) // 2]))
        for (source, value, location), row in zip(chosen, rows, strict=True)
    )
    classes = (*label.classes, NO_CLASS) if NO_CLASS in values else label.classes
    return Sheet(label_name(label.name), classes, examples)


def render_page(text: str, pairs: Sequence[DuplicatePair], sheet: Sheet) -> str:
    """The page with its images embedded; every name is escaped."""
    loader = PackageLoader("lus_ray.data", ".")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("check.html.jinja").render(
        text=text,
        conflicts=[pair for pair in pairs if pair.conflicts],
        sheet=sheet,
        sources=sorted({example.source for example in sheet.examples}),
        num_examples=NUM_EXAMPLES,
    )


def _choose_label(index: pa.Table, own: Mapping[str, Label]) -> tuple[Label, list[str]]:
    """The label of the sheet, and the class of every clip."""
    rows = to_rows(index.select(["severity", "disease", "labels"]))
    for label in (LABELS["severity"], *own.values(), LABELS["disease"]):
        found = [
            (row["labels"] or {}).get(label.name) if label.name in own else row[label.name]
            for row in rows
        ]
        if any(value is not None for value in found):
            return label, [NO_CLASS if value is None else str(value) for value in found]
    return LABELS["severity"], [NO_CLASS] * len(rows)


def _chosen(clips: Iterable[Clip]) -> Iterator[Clip]:
    patients: dict[tuple[str, str], set[str]] = {}
    for source, value, location in clips:
        chosen = patients.setdefault((source, value), set())
        if location[0] not in chosen and len(chosen) < NUM_EXAMPLES:
            chosen.add(location[0])
            yield source, value, location


def _png(frame: UInt8[ndarray, "H W"]) -> str:
    image, file = Image.fromarray(frame), io.BytesIO()
    image.thumbnail((LONGER_SIDE, LONGER_SIDE))
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
