"""Several runs of one study side by side: other data, sizes or versions.

Runs test different patients, so that their differences have no paired interval; each run stands
with its own.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from lus_ray.data.labels import label_title
from lus_ray.errors import InputError
from lus_ray.evaluation import report_json, results, schema
from lus_ray.evaluation.schema import ReportContents
from lus_ray.report import (
    conclusions,
    formatting,
    metric_names,
    rendering,
    result_tables,
    table_files,
)
from lus_ray.report.blocks import Block, Box, Cell, Document, Points, Section, Table, texts
from lus_ray.runs import layout
from lus_ray.storage.files import write_text

Runs = Mapping[str, ReportContents]
"""Contents by the name of the run."""

FACTS: dict[str, Callable[[ReportContents], object]] = {
    "size": lambda own: own.size,
    "sources": lambda own: ", ".join(own.data.get("sources") or {}),
    "clips": lambda own: own.data.get("clips"),
    "patients": lambda own: own.data.get("patients"),
    "test patients": conclusions.num_test_patients,
    "folds": lambda own: len(own.folds["sizes"]),
    "seeds": lambda own: own.seeds,
    "arms": lambda own: len(own.arms),
    "seed": lambda own: own.seed,
    "version": lambda own: own.version,
    "commit": lambda own: own.commit,
    "started": lambda own: own.started,
    "machine": formatting.machine,
}
SCORES = (
    "Percent, [95 % interval over patients, and over training seeds where a run has several], Δ "
    "difference to the best baseline of the same run. "
    "Runs test different patients: their intervals are not paired."
)


def read(folders: Mapping[str, Path]) -> dict[str, ReportContents]:
    """The contents of each run; InputError where they are of different studies."""
    contents = {}
    for name, folder in folders.items():
        contents[name], _ = report_json.compute(results.read(folder))
        first = next(iter(contents.items()))
        if contents[name].experiment != first[1].experiment:
            raise InputError(
                f"{name}: a run of {contents[name].experiment}, but {first[0]} is one of "
                f"{first[1].experiment}; name runs of one study"
            )
    return contents


def compose(runs: Runs) -> Document:
    first = next(iter(runs.values()))
    by_run = (conclusions.order_labels(own) for own in runs.values())
    labels = list(dict.fromkeys(label for labels in by_run for label in labels))
    lead: list[Block] = [Box(tuple(_summaries(runs))), Points(tuple(_describe_differences(runs)))]
    blocks: list[Block] = [_label_table(runs, label) for label in labels]
    sections = [
        Section("Runs", "runs", (_facts_table(runs),), is_brief=True),
        Section("Results", "results", tuple(blocks), is_brief=True),
    ]
    if any(own.claims for own in runs.values()):
        sections.append(Section("Claims", "claims", (_claim_table(runs),), is_brief=True))
    title = f"{first.title or first.experiment}: {len(runs)} runs"
    return Document(title, tuple(lead), tuple(sections), SCORES)


def write(document: Document, folder: Path) -> Path:
    """Write page, Markdown and tables; returns the page. InputError for the folder of a run."""
    if (folder / layout.MANIFEST).exists():
        raise InputError(f"{folder}: holds a run; choose another --out for the comparison")
    folder.mkdir(parents=True, exist_ok=True)
    page, text, *_ = layout.REPORTS
    write_text(folder / page, rendering.render_html(document))
    write_text(folder / text, rendering.render_markdown(document))
    table_files.write(document, folder / layout.TABLES)
    return folder / page


def to_json(runs: Runs) -> str:
    """The contents of report.json of every run, by its name."""
    return json.dumps(
        {name: json.loads(schema.to_json(own)) for name, own in runs.items()}, indent=1
    )


def _summaries(runs: Runs) -> list[tuple[str, str]]:
    """Data and finding of each run, and how sure they are, once where all are equally sure."""
    own = {name: conclusions.conclude(contents) for name, contents in runs.items()}
    if len({summary.certainty for summary in own.values()}) > 1:
        return [(name, f"{s.data} {s.finding} {s.certainty}") for name, s in own.items()]
    (certainty,) = {summary.certainty for summary in own.values()}
    return [(name, f"{s.data} {s.finding}") for name, s in own.items()] + [("How sure", certainty)]


def _describe_differences(runs: Runs) -> list[str]:
    differing = [name for name in FACTS if len(set(_facts(runs, name))) > 1]
    if not differing:
        return ["The runs differ in none of the recorded facts."]
    values = [f"{name} {' and '.join(_facts(runs, name))}" for name in differing]
    return [f"The runs differ in {'; '.join(values)}."]


def _facts(runs: Runs, name: str) -> list[str]:
    return [str(FACTS[name](own) or formatting.ABSENT) for own in runs.values()]


def _facts_table(runs: Runs) -> Table:
    rows = tuple(texts(name, *_facts(runs, name)) for name in FACTS)
    shown = tuple(row for row in rows if any(own.text != formatting.ABSENT for own in row[1:]))
    return Table("runs", "Runs", ("Fact", *runs), shown, brief=1 + len(runs))


def _label_table(runs: Runs, label: str) -> Table:
    """The main arms of any run by their first metric."""
    metric = next(
        filter(None, (conclusions.leading_metric(own, label) for own in runs.values())), ""
    )
    names = dict.fromkeys(
        arm.name for own in runs.values() for arm in result_tables.main_arms(own, label)
    )
    baselines = {a.name for own in runs.values() for a in own.arms_of(label) if a.baseline}
    rows = tuple(
        (
            Cell(metric_names.short_name(name, label)),
            *(_score(own, name, metric) for own in runs.values()),
        )
        for name in names
    )
    title = f"{label_title(label)}, {metric_names.name(metric, label)}"
    plain = frozenset(n for n, name in enumerate(names) if name in baselines)
    return Table(label, title, ("Arm", *runs), rows, brief=1 + len(runs), plain=plain)


def _score(contents: ReportContents, name: str, metric: str) -> Cell:
    arm = next((arm for arm in contents.arms if arm.name == name), None)
    if arm is None:
        return Cell("not run", tone="absent")
    if metric not in arm.mean:
        return Cell(formatting.ABSENT)
    own = result_tables.full_score_cell(arm, metric)
    limits = formatting.limits(arm.interval.get(metric))
    remarks = tuple(remark for remark in own.remarks if remark != limits)
    return replace(
        own, text=f"{formatting.percent_text(arm.mean[metric])} {limits}", remarks=remarks
    )


def _claim_table(runs: Runs) -> Table:
    claims = dict.fromkeys(claim.text for own in runs.values() for claim in own.claims)
    rows = tuple((Cell(text), *(_verdict(own, text) for own in runs.values())) for text in claims)
    return Table("claims", "Claims of the paper", ("Claim", *runs), rows, brief=1 + len(runs))


def _verdict(contents: ReportContents, text: str) -> Cell:
    claim = next((claim for claim in contents.claims if claim.text == text), None)
    if claim is None:
        return Cell(formatting.ABSENT)
    value = claim.difference
    if value is None:
        return Cell(claim.verdict, (claim.reason,))
    limits = formatting.limits(claim.adjusted_interval or claim.interval, sign="+")
    return Cell(f"{claim.verdict}, {100 * value:+.1f} points", (limits,))
