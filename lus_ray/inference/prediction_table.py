"""Responses as rows of a table: one row per clip, one column per number.

    clip, store, patient    path of the file; or name, store and patient of a stored clip
    state                   size and modification time of the file, or the hash of stored pixels
    sha256                  of the decoded grey pixels
    num_frames, height, width, fps, format, notes
    lung_ultrasound         0 to 1: how much it looks like lung ultrasound
    findings                biomarkers that are probably there; empty where none may be reported
    summary/LABEL           class by the models that beat the baseline; empty without one
    RUN/ARM/NAME            one number of one model: the probability of a class or a biomarker,
                            the share of frames with a score, the share of pixels of a mask class
    error                   why there is no prediction

ARM is the folder of the arm in RUN/cells. Numbers of models have six decimals.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from lus_ray.inference.clip_inputs import ClipResult
from lus_ray.inference.schema import ClipResponse
from lus_ray.inference.voting import vote
from lus_ray.runs.layout import slug

FIRST_COLUMNS = {
    "clip": pa.string(), "store": pa.string(), "patient": pa.string(), "state": pa.string(),
    "sha256": pa.string(), "num_frames": pa.int64(), "height": pa.int64(), "width": pa.int64(),
    "fps": pa.float64(), "format": pa.string(), "notes": pa.string(),
    "lung_ultrasound": pa.float64(), "findings": pa.string(),
}  # fmt: skip
SUMMARY, ERROR = "summary/", "error"
DECIMALS = 6

FlatRow = dict[str, Any]


def column_type(name: str) -> pa.DataType:
    if name == ERROR or name.startswith(SUMMARY):
        return pa.string()
    return FIRST_COLUMNS.get(name, pa.float64())


def flatten(result: ClipResult) -> FlatRow:
    """The row of a result; columns of models are missing where there is an error."""
    source = result.source
    store = None if source.store is None else str(source.store)
    row = {"clip": source.clip, "store": store, "patient": source.patient, "state": source.state}
    if result.response is not None:
        row |= dict(_columns(result.response))
    return row | {ERROR: result.error}


def make_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows as a table with the columns in their order; missing values are null."""
    seen = dict.fromkeys(name for row in rows for name in row)
    summaries = [name for name in seen if name.startswith(SUMMARY)]
    known = {*FIRST_COLUMNS, *summaries, ERROR}
    names = [*FIRST_COLUMNS, *summaries, *(name for name in seen if name not in known), ERROR]
    schema = pa.schema([(name, column_type(name)) for name in names])
    return pa.Table.from_pylist(list(rows), schema=schema)


def concatenate(tables: Sequence[pa.Table]) -> pa.Table:
    """Tables with different columns of models as one; missing values are null."""
    table = pa.concat_tables(tables, promote_options="default")
    order = make_table([dict.fromkeys(table.column_names)]).column_names
    return table.select(order)


def _columns(response: ClipResponse) -> Iterator[tuple[str, Any]]:
    clip = response.clip
    yield "sha256", clip.sha256
    for name in ("num_frames", "height", "width", "fps", "format"):
        yield name, getattr(clip, name)
    yield "notes", "; ".join(clip.notes) or None
    yield "lung_ultrasound", round(response.lung_ultrasound.score, DECIMALS)
    signs = response.biomarkers
    if signs is not None:
        yield "findings", "; ".join(signs.names[k] for k in signs.findings) or None
        yield from _numbers(signs.model, signs.names, signs.probability)
    for group in response.experts:
        counted = [answer for answer in group.answers if answer.in_summary]
        yield SUMMARY + group.label, group.classes[vote(counted)[0]] if counted else None
        for answer in group.answers:
            yield from _numbers(answer.model, group.classes, answer.probability)
    if (frames := response.frames) is not None:
        shares = [frames.score.count(k) / len(frames.score) for k in range(len(frames.classes))]
        yield from _numbers(frames.model, frames.classes, shares)
    for score in response.clip_scores:
        yield from _numbers(score.model, score.classes, score.probability)
    if (masks := response.masks) is not None:
        yield from _numbers(masks.model, masks.classes, masks.share)
        if masks.uncertainty:
            mean = sum(masks.uncertainty) / len(masks.uncertainty)
            yield from _numbers(masks.model, ["uncertainty"], [mean])


def _numbers(
    model: str, names: Sequence[str], values: Sequence[float]
) -> Iterator[tuple[str, float]]:
    run, _, arm = model.partition("/")
    for name, value in zip(names, values, strict=True):
        yield f"{run}/{slug(arm)}/{name}", round(value, DECIMALS)
