"""The page of a check: findings, copies, and example frames by source and severity."""

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa
from jaxtyping import UInt8
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy import ndarray
from PIL import Image

from lus_ray.clip import NUM_SEVERITIES, frames_of
from lus_ray.data import store
from lus_ray.data.duplicates.groups import DuplicatePair
from lus_ray.storage.paths import PathOrUri

NUM_EXAMPLES = 2
"""Images per source and severity, of different patients."""
LONGER_SIDE = 220
SEVERITIES = (*map(str, range(NUM_SEVERITIES)), "not graded")


@dataclass(frozen=True)
class Example:
    clip: str
    source: str
    severity: str
    png: str


def pick_examples(path: PathOrUri, index: pa.Table) -> tuple[Example, ...]:
    """Middle frames of a few clips of each source and severity, of different patients."""
    columns = ("source", "severity", "patient", "clip", "shard", "row_group", "row")
    chosen = list(_chosen(zip(*(index[name].to_pylist() for name in columns), strict=True)))
    locations = [row[3:] for row in chosen]
    rows = store.read_located(path, locations, columns=["frames", "height", "width"])
    examples = []
    for (source, grade, _, clip, *_), row in zip(chosen, rows, strict=True):
        png = _png(frames_of(row)[len(row["frames"]) // 2])
        severity = "not graded" if grade is None else str(grade)
        examples.append(Example(clip, source, severity, png))
    return tuple(examples)


def render_page(text: str, pairs: Sequence[DuplicatePair], examples: Sequence[Example]) -> str:
    """The page with its images embedded; every name is escaped."""
    loader = PackageLoader("lus_ray.data", ".")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("check.html.jinja").render(
        text=text,
        conflicts=[pair for pair in pairs if pair.conflicts],
        examples=examples,
        sources=sorted({example.source for example in examples}),
        severities=SEVERITIES,
        num_examples=NUM_EXAMPLES,
    )


def _chosen(rows: Iterable[tuple]) -> Iterable[tuple]:
    patients: dict[tuple[str, int | None], set[str]] = {}
    for row in rows:
        patient, chosen = row[2], patients.setdefault(row[:2], set())
        if patient not in chosen and len(chosen) < NUM_EXAMPLES:
            chosen.add(patient)
            yield row


def _png(frame: UInt8[ndarray, "H W"]) -> str:
    image, file = Image.fromarray(frame), io.BytesIO()
    image.thumbnail((LONGER_SIDE, LONGER_SIDE))
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
