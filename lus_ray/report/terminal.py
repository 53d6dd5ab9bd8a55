"""The report for a terminal of 100 columns: the best arms, the baselines, gaps and claims."""

import textwrap
from collections.abc import Iterable

from lus_ray.evaluation.schema import (
    ArmResult,
    ClaimResult,
    DomainResult,
    GapResult,
    ReportContents,
)
from lus_ray.figures import shorten
from lus_ray.report import domain_tables, formatting, metric_names
from lus_ray.runs import leakage

WIDTH = 100
NUM_METRICS = 2


def render(contents: ReportContents) -> str:
    lines = [*textwrap.wrap(f"{contents.title} ({contents.size})", WIDTH)]
    for label in contents.labels:
        lines += ["", *_scores(contents, label)]
    for entry in contents.domains or ():
        lines += ["", *_domain(entry)]
    if contents.missing:
        count = len(contents.missing)
        lines += ["", f"* not over all folds. Cells missing: {count}; run the command again."]
    for texts in (
        [_gap(gap) for gap in contents.gaps],
        [_claim(contents, claim) for claim in contents.claims],
        contents.warnings,
    ):
        lines += [""] if texts else []
        for text in texts:
            lines += textwrap.wrap(text, WIDTH, subsequent_indent="  ")
    lines.append("")
    if kinds := sorted(leakage.KINDS.keys() & contents.notes.keys()):
        lines.append(f"† a published protocol that leaks: {', '.join(kinds)}")
    lines += ["· a baseline; percent, mean ± std over folds [95 % interval over patients]"]
    return "\n".join(lines)


def _scores(contents: ReportContents, label: str) -> Iterable[str]:
    metrics = contents.metrics_of(label)[:NUM_METRICS]
    head = "".join(f"{shorten(metric_names.name(m, label), 26):<27}" for m in metrics)
    yield f"{metric_names.label_title(label):<36}{head}{'patients':>8}"
    for arm in contents.arms_of(label):
        if arm.baseline or arm.name in contents.highlights[label]:
            scores = "".join(f"{_score_and_interval(arm, m):<27}" for m in metrics)
            mark = ("·" if arm.baseline else " ") + ("†" if arm.leak else " ")
            yield f"{shorten(mark + arm.name, 35):<36}{scores}{arm.num_patients:>8}"


def _domain(entry: DomainResult) -> Iterable[str]:
    head, *rows = domain_tables.arm_table(entry)
    columns = [title.removesuffix(", %").split(" over ")[-1] for title in head[1:-2]]
    yield f"{shorten(domain_tables.title(entry), 34):<35}" + "".join(
        f"{shorten(title, 13):<13}" for title in columns
    )
    for name, *values in rows:
        if name in entry.main:
            cells = (value.partition("; ")[0] for value in values[:-2])
            yield f" {shorten(name, 33):<34}" + "".join(f"{cell:<13}" for cell in cells)
    counts = {test: domain_tables.count_significant(entry, test) for test in domain_tables.TESTS}
    texts = ", ".join(f"{test} {few} of {many}" for test, (few, many) in counts.items())
    yield f" comparisons with p < 0.05 after Holm: {texts}"


def _gap(gap: GapResult) -> str:
    if gap.reason:
        return f"{gap.text}: {gap.reason}"
    differences = ", ".join(formatting.gap_differences(gap)[:NUM_METRICS])
    return f"{gap.text}: {differences} points relative to the leak-free protocol"


def _claim(contents: ReportContents, claim: ClaimResult) -> str:
    return f"{claim.verdict}: {claim.text} ({formatting.claim_evidence(contents, claim)})"


def _score_and_interval(arm: ArmResult, metric: str) -> str:
    mean = arm.mean.get(metric)
    if mean is None:
        return formatting.score(arm, metric)
    mark = "*" if formatting.partial_folds(arm, metric) else ""
    spread = formatting.spread(mean, arm.std[metric])
    return f"{spread}{mark} {formatting.limits(arm.interval[metric])}"
