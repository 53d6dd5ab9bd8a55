"""The external tests of a run, from the reports of its evaluation folders."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import ValidationError

from lus_ray.errors import StoreError
from lus_ray.evaluation.external import EXTERNAL, ExternalResults
from lus_ray.report.blocks import Block, Paragraph, Section
from lus_ray.report.external import shifts
from lus_ray.runs import layout, manifest
from lus_ray.runs.manifest import EvaluationRecord, RunRecord

SAME = (
    "All models of the run on clips of patients whom none of them saw. Percent with 95 % intervals "
    "over patients; differences in points, with the choice of patients on both sides."
)


def section(run: Path, record: RunRecord) -> tuple[Section, ...]:
    """One section with a table per evaluation and label; none without an evaluation."""
    blocks: list[Block] = []
    for folder in sorted((run / layout.EVALUATIONS).glob(f"*/{layout.MANIFEST}")):
        blocks += _blocks(folder.parent, record)
    if not blocks:
        return ()
    remark = record.remarks.get("external")
    texts = [Paragraph(SAME), *([Paragraph(remark)] if remark else [])]
    return (Section("External tests", "external", (*blocks, *texts), is_brief=True),)


def _blocks(folder: Path, record: RunRecord) -> Iterable[Block]:
    place = f"{layout.EVALUATIONS}/{folder.name}"
    again = f"run 'lus evaluate' on it again to show {place} here"
    try:
        about = manifest.read(folder).evaluation_of
        contents = json.loads((folder / "report.json").read_text())
        results = EXTERNAL.validate_python(contents["external"])
    except (StoreError, OSError, ValueError, KeyError, ValidationError):
        yield Paragraph(f"{place} has no readable report; {again}.", is_notice=True)
        return
    if about is None or about.fingerprint != record.data.fingerprint:
        yield Paragraph(f"{place} is of another run; remove it.", is_notice=True)
        return
    yield Paragraph(f"{describe(about, contents['data'])} Whole report: {place}/report.html.")
    yield from tabulate_arms(folder.name, results, record)


def describe(about: EvaluationRecord, data: Mapping[str, int]) -> str:
    left_out = ""
    if about.left_out:
        number = sum(own.num_clips for own in about.left_out)
        left_out = f"; {number} clips of {len(about.left_out)} patients of the run were left out"
    return f"{about.name}: {data['clips']} clips of {data['patients']} patients{left_out}."


def tabulate_arms(name: str, results: ExternalResults, record: RunRecord) -> Iterable[Block]:
    """The main arms of each label, and those that a claim compares."""
    claimed = {name for claim in record.claims for name in (claim.better, claim.than)}
    for label in results.labels:
        of_label = {arm.name for arm in record.arms if arm.label == label}
        main = (claimed & of_label).union(results.main[label])
        arms = [arm for arm in results.shifts if arm.name in main and arm.num_external]
        if arms:
            metric = results.metrics[label]
            table = shifts.shift_table(f"external {name} {label}", arms, label, [metric], brief=4)
            yield table
