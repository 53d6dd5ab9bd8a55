"""Metrics of an arm by sex, age, body mass index, probe, zone, site and device.

Letters: N examples, G groups.
A group with few patients is shown but not ranked: its metric would often be the best or the worst
by chance. Clips without a value are a group of their own, which is not ranked either.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool

from lus_ray.data import bands
from lus_ray.evaluation import scoring
from lus_ray.evaluation.external.estimates import Cells, Resampling, Sampled, to_estimate
from lus_ray.evaluation.external.schema import ArmSubgroups, ColumnGroups, GapScores, GroupScores
from lus_ray.evaluation.results import CellResult
from lus_ray.metrics.frames import SETTINGS, FrameSelection
from lus_ray.metrics.group_gap import worst_gap
from lus_ray.runs import predictions
from lus_ray.runs.layout import RunFolder

COLUMNS = ("sex", "age", "bmi", "probe", "zone", "site", "device")
MIN_PATIENTS = 10
"""Groups with fewer are not ranked."""
NOT_KNOWN = "not known"

Facts = Mapping[str, Mapping[str, Any]]
"""The values of `COLUMNS` by clip."""


def read_facts(folder: RunFolder) -> Facts:
    """The values of every test clip of a run or an evaluation."""
    facts: dict[str, Mapping[str, Any]] = {}
    for files in folder.finished_cells():
        _, table = predictions.read(files.predictions, ("clip", "split", *COLUMNS))
        rows = table.filter(pc.equal(table["split"], "test"))
        rows = rows.filter(pc.invert(pc.is_in(rows["clip"], pa.array(list(facts), pa.string()))))
        facts |= {row.pop("clip"): row for row in rows.drop_columns(["split"]).to_pylist()}
    return facts


def name_group(column: str, value: Any) -> str:
    """The group of a value: itself, or its band."""
    if value is None:
        return NOT_KNOWN
    return bands.find_band(column, value) if column in bands.LIMITS else str(value)


def measure_subgroups(
    name: str,
    label: str,
    *,
    cells: Cells,
    sampling: Resampling,
    facts: Facts,
    metrics: Sequence[str],
    roles: Sequence[str] = (),
) -> ArmSubgroups:
    """Metrics of the test clips of an arm by group; the first of `metrics` ranks the groups."""
    columns, unknown = [], []
    clips = {c for by_seed in cells.values() for cell in by_seed.values() for c in cell.clips}
    for column in COLUMNS:
        groups = {clip: name_group(column, facts.get(clip, {}).get(column)) for clip in clips}
        if set(groups.values()) <= {NOT_KNOWN}:
            unknown.append(column)
            continue
        columns.append(
            _measure_column(column, groups, cells, sampling, metrics=metrics, roles=roles)
        )
    return ArmSubgroups(
        name=name, label=label, metrics=tuple(metrics), columns=tuple(columns),
        unknown=tuple(unknown),
    )  # fmt: skip


def select(cell: CellResult, clips: frozenset[str]) -> CellResult:
    """A cell with the examples of these clips only."""
    kept = np.array([clip in clips for clip in cell.clips], bool)
    chosen = [number for number, is_kept in enumerate(kept) if is_kept]
    members = cell.members

    def take(array: Any) -> Any:
        return array[kept] if array is not None and len(array) == len(kept) else array

    return replace(
        cell,
        clips=tuple(cell.clips[k] for k in chosen),
        patients=tuple(cell.patients[k] for k in chosen),
        domains=tuple(cell.domains[k] for k in chosen) if cell.domains else (),
        target=take(cell.target),
        probability=take(cell.probability),
        counts=take(cell.counts),
        frame_counts=take(cell.frame_counts),
        members=members and _select_frames(members, kept),
        repeats=(),
    )


def _select_frames(members: FrameSelection, kept: Bool[np.ndarray, "N"]) -> FrameSelection:
    chosen = members.kept[:, kept]
    empty = [name for name, own in zip(SETTINGS, chosen, strict=True) if not own.any()]
    return FrameSelection(chosen, dict.fromkeys(empty, "no frame of this group"))


def _measure_column(
    column: str,
    groups: Mapping[str, str],
    cells: Cells,
    sampling: Resampling,
    *,
    metrics: Sequence[str],
    roles: Sequence[str],
) -> ColumnGroups:
    patient_of = {
        clip: patient
        for by_seed in cells.values()
        for cell in by_seed.values()
        for clip, patient in zip(cell.clips, cell.patients, strict=True)
    }
    clips_of: dict[str, set[str]] = {}
    for clip, group in groups.items():
        clips_of.setdefault(group, set()).add(clip)
    patients = {group: len({patient_of[c] for c in own}) for group, own in clips_of.items()}
    scores, ranked = [], {}
    for group in _order(column, patients):
        measured = _measure_group(frozenset(clips_of[group]), cells, sampling, roles)
        is_ranked = group != NOT_KNOWN and patients[group] >= MIN_PATIENTS
        known = {metric: measured[metric] for metric in metrics if metric in measured}
        if is_ranked and metrics[0] in known and np.isfinite(known[metrics[0]].value):
            ranked[group] = known[metrics[0]]
        scores.append(
            GroupScores(
                group=group,
                num_patients=patients[group],
                num_clips=len(clips_of[group]),
                is_ranked=is_ranked,
                metrics={metric: own.estimate() for metric, own in known.items()},
            )
        )
    return ColumnGroups(column=column, groups=tuple(scores), gap=_find_gap(ranked))


def _measure_group(
    clips: frozenset[str], cells: Cells, sampling: Resampling, roles: Sequence[str]
) -> dict[str, Sampled]:
    counts = {}
    for fold, by_seed in cells.items():
        own = {
            seed: scoring.count_patients(select(cell, clips), roles)
            for seed, cell in by_seed.items()
        }
        if usable := {seed: known for seed, known in own.items() if known is not None}:
            counts[fold] = usable
    return sampling.measure(counts)


def _order(column: str, patients: Mapping[str, int]) -> list[str]:
    """Bands from low to high, other groups by their number of patients; what is not known last."""
    names = bands.band_names(column) if column in bands.LIMITS else ()

    def rank(group: str) -> tuple[bool, int, int, str]:
        place = names.index(group) if group in names else 0
        return (group == NOT_KNOWN, place, -patients[group] if not names else 0, group)

    return sorted(patients, key=rank)


def _find_gap(ranked: Mapping[str, Sampled]) -> GapScores | None:
    if len(ranked) < 2:
        return None
    names = list(ranked)
    values = np.array([own.value for own in ranked.values()])
    gap = worst_gap(values, np.stack([own.draws for own in ranked.values()]))
    return GapScores(
        best=names[gap.best],
        worst=names[gap.worst],
        difference=to_estimate(gap.value, gap.interval),
    )
