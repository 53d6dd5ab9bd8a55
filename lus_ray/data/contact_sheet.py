"""The page of a check: findings, copies, and example frames by source and severity."""

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa
from jaxtyping import UInt8
from jinja2 import Environment, StrictUndefined
from numpy import ndarray
from PIL import Image

from lus_ray.clip import NUM_SEVERITIES, frames_of
from lus_ray.data import store
from lus_ray.data.duplicates.groups import DuplicatePair
from lus_ray.storage.paths import PathOrUri

NUM_EXAMPLES = 2
"""Pictures per source and severity, of different patients."""
LONGER_SIDE = 220
SEVERITIES = (*map(str, range(NUM_SEVERITIES)), "not graded")

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Check of a clip store</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem; max-width: 90rem; color: #1a1a1a }
pre { background: #f5f5f5; padding: 1rem; overflow-x: auto }
.sheet { overflow-x: auto }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem }
figure { display: inline-block; margin: .2rem }
img { background: #000; display: block }
figcaption { font-size: 12px; max-width: 220px; overflow-wrap: anywhere }
</style>
</head>
<body>
<h1>Check of a clip store</h1>
<h2>Contact sheet</h2>
<p>Middle frames by source and severity, at most {{ num_examples }} patients each.</p>
<div class="sheet"><table>
<tr><th>source</th>{% for severity in severities %}<th>{{ severity }}</th>{% endfor %}</tr>
{% for source in sources %}
<tr><th>{{ source }}</th>
{% for severity in severities %}
<td>{% for e in examples if e.source == source and e.severity == severity %}
<figure><img alt="{{ e.clip }}, severity {{ e.severity }}" src="data:image/png;base64,{{ e.png }}">
<figcaption>{{ e.clip }}</figcaption></figure>
{% endfor %}</td>
{% endfor %}
</tr>
{% endfor %}
</table></div>
{% if conflicts %}
<h2>Copies with different labels</h2>
<table>
<tr><th>clip</th><th>copy</th><th>kind</th><th>labels that differ</th></tr>
{% for pair in conflicts %}
<tr><td>{{ pair.one }}</td><td>{{ pair.other }}</td><td>{{ pair.kind }}</td>
<td>{{ pair.conflicts | join(", ") }}</td></tr>
{% endfor %}
</table>
{% endif %}
<h2>Findings</h2>
<pre>{{ text }}</pre>
</body>
</html>
"""


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
    return tuple(
        Example(
            clip,
            source,
            "not graded" if grade is None else str(grade),
            _png(frames_of(row)[len(row["frames"]) // 2]),
        )
        for (source, grade, _, clip, *_), row in zip(chosen, rows, strict=True)
    )


def render_page(text: str, pairs: Sequence[DuplicatePair], pictures: Sequence[Example]) -> str:
    """The page with its images embedded; every name is escaped."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.from_string(PAGE).render(
        text=text,
        conflicts=[pair for pair in pairs if pair.conflicts],
        examples=pictures,
        sources=sorted({picture.source for picture in pictures}),
        severities=SEVERITIES,
        num_examples=NUM_EXAMPLES,
    )


def _chosen(rows: Iterable[tuple]) -> Iterable[tuple]:
    patients: dict[tuple[str, int | None], set[str]] = {}
    for row in rows:
        source, grade, patient, *_ = row
        chosen = patients.setdefault((source, grade), set())
        if patient not in chosen and len(chosen) < NUM_EXAMPLES:
            chosen.add(patient)
            yield row


def _png(frame: UInt8[ndarray, "H W"]) -> str:
    picture = Image.fromarray(frame)
    picture.thumbnail((LONGER_SIDE, LONGER_SIDE))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
