"""The document of an external validation: who was tested, and external beside internal scores."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from lus_ray.data.labels import label_name
from lus_ray.evaluation import untrained
from lus_ray.evaluation.external import ExternalResults
from lus_ray.evaluation.schema import ReportContents
from lus_ray.evaluation.scored_arms import Arms
from lus_ray.experiment import TRIAL_SIZES
from lus_ray.metrics.bootstrap import MIN_PATIENTS
from lus_ray.report import compose as run_page
from lus_ray.report import conclusions, detail_tables, formatting, metric_names, result_tables
from lus_ray.report.blocks import (
    Block,
    Box,
    Details,
    Document,
    Paragraph,
    Points,
    Section,
    Table,
    texts,
)
from lus_ray.report.external import tables

MAX_REASONS = 3
"""Patients that the first lines name."""
NO_RUN = (
    "The run is no longer at {run}, so no internal score, temperature or prediction set stands "
    "beside these; put it there and write the report again."
)


def compose(contents: ReportContents, arms: Arms, external: ExternalResults | None) -> Document:
    about = contents.evaluation_of
    assert about is not None
    title = f"External validation on {about.name}: {contents.title or contents.experiment}"
    labels = conclusions.order_labels(contents)
    measured = tables.sections(external, labels) if external else ()
    results = run_page.results_section(contents)
    sections = (
        *measured[:1],
        replace(results, is_brief=not measured),
        *measured[1:],
        _patients(contents),
        run_page.details_section(contents, arms),
    )
    lead = tuple(_lead(contents, external, labels))
    return Document(title, lead, sections, footer=run_page.RESEARCH)


def _lead(
    contents: ReportContents, external: ExternalResults | None, labels: Sequence[str]
) -> Iterable[Block]:
    about = contents.evaluation_of
    assert about is not None
    items = [
        ("Evaluated", _evaluated(contents)),
        ("Left out", _left_out(contents)),
        *([("Finding", _finding(contents, external))] if external else []),
        ("How sure", _certainty(contents)),
    ]
    yield Box(tuple(items), run_page.facts(contents))
    if forest := result_tables.forest(contents, labels):
        yield forest
    if external is None:
        yield Paragraph(NO_RUN.format(run=about.run), is_notice=True)
    unscored = untrained.describe(contents.untrained)
    for text in (*about.notes, *contents.warnings):
        if text not in unscored:
            yield Paragraph(formatting.sentence(text), is_notice=True)
    if unscored:
        points = Points(tuple(map(formatting.sentence, unscored)))
        yield Details("Classes that some models were not trained on", (points,))


def _evaluated(contents: ReportContents) -> str:
    about, data = contents.evaluation_of, contents.data
    assert about is not None
    models = sum(len(own.seeds) or 1 for arm in contents.arms for own in arm.folds)
    return (
        f"{models} models ({conclusions.count(len(contents.arms), 'arm')}, "
        f"{conclusions.count(len(contents.folds['sizes']), 'fold')}) of a run of "
        f"{contents.experiment}, size {contents.size}, trained on "
        f"{', '.join(about.sources) or 'an unnamed source'}; tested on "
        f"{conclusions.count(data['clips'], 'clip')} of "
        f"{conclusions.count(data['patients'], 'patient')} from "
        f"{', '.join(data.get('sources') or ()) or 'an unnamed source'}. Every model predicts all "
        "of them."
    )


def _left_out(contents: ReportContents) -> str:
    about = contents.evaluation_of
    assert about is not None
    compared = f"Compared: {about.compared}."
    if not about.left_out:
        return f"Nobody: no patient of the run was found. {compared}"
    clips = sum(own.num_clips for own in about.left_out)
    few = "; ".join(f"{own.patient}: {own.reason}" for own in about.left_out[:MAX_REASONS])
    more = len(about.left_out) - MAX_REASONS
    return (
        f"{conclusions.count(len(about.left_out), 'patient')} with "
        f"{conclusions.count(clips, 'clip')} who may be patients of the run ({few}"
        f"{f'; and {more} more' if more > 0 else ''}). {compared}"
    )


def _finding(contents: ReportContents, external: ExternalResults) -> str:
    """For each label, the main arm that is best on the run's own test patients.

    No baseline, and no arm whose internal score is too high as it leaks.
    """
    parts = []
    plain = {arm.name for arm in contents.arms if arm.baseline}
    for label in external.labels:
        metric, names = external.metrics[label], external.main[label]
        known = [
            own
            for own in external.shifts
            if own.name in set(names) - plain and metric in own.metrics and not own.leak
        ]
        scored = [own for own in known if own.metrics[metric].difference.value is not None]
        if not scored:
            continue
        best = max(scored, key=lambda own: own.metrics[metric].internal.value or 0.0)
        shift = best.metrics[metric]
        limits = formatting.limits(shift.difference.interval, sign="+")
        parts.append(
            f"for {label_name(label)}, {best.name} has {metric_names.name(metric, label)} "
            f"{formatting.percent_text(shift.internal.value)} % on the run's own test patients "
            f"and {formatting.percent_text(shift.external.value)} % here "
            f"({f'{100 * (shift.difference.value or 0):+.1f} {limits}'.strip()} points)"
        )
    return formatting.sentence("; ".join(parts)) if parts else "No arm has a score on both sides."


def _certainty(contents: ReportContents) -> str:
    number = conclusions.num_test_patients(contents)
    tested = f"{conclusions.count(number, 'patient')} tested"
    if contents.size in TRIAL_SIZES:
        tested += f"; models of size {contents.size} are trained too little to decide anything"
    elif number < MIN_PATIENTS:
        tested += f" of at least {MIN_PATIENTS} that are needed"
    if conclusions.is_synthetic(contents.data.get("sources") or {}):
        tested += "; simulated clips say nothing about real patients"
    return (
        f"{tested}. Intervals cover the choice of patients on both sides, not of the hospital: "
        "one store has its own scanners, patients and labels."
    )


def _patients(contents: ReportContents) -> Section:
    about = contents.evaluation_of
    assert about is not None
    blocks: list[Block] = [detail_tables.cohort_table(contents)]
    if about.left_out:
        rows = tuple(texts(o.patient, str(o.num_clips), o.reason) for o in about.left_out)
        table = Table("left out", "Patients left out", ("Patient", "Clips", "Reason"), rows)
        blocks.append(Details(f"Patients left out ({len(rows)})", (table,)))
    return Section("Patients", "cohort", tuple(blocks))
