"""The report for a terminal of 100 columns: the best arms, the baselines, gaps and claims."""

import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from lus_ray.figures import shorten
from lus_ray.report import domain_tables, formatting
from lus_ray.runs import leakage

Contents = Mapping[str, Any]
WIDTH = 100
NUM_METRICS = 2


def text(contents: Contents) -> str:
    """The best arms and all baselines as a plain table of at most 100 columns."""
    lines = [*textwrap.wrap(f"{contents['title']} ({contents['size']})", WIDTH)]
    for label in formatting.labels_of(contents):
        lines += ["", *_scores(contents, label)]
    for entry in domain_tables.entries(contents):
        lines += ["", *_domain(entry)]
    if contents["missing"]:
        count = len(contents["missing"])
        lines += ["", f"* not over all folds. Cells missing: {count}; run the command again."]
    if contents["gaps"]:
        lines.append("")
    for gap in contents["gaps"]:
        lines += textwrap.wrap(_gap(gap), WIDTH, subsequent_indent="  ")
    if contents["claims"]:
        lines.append("")
    for claim in contents["claims"]:
        lines += textwrap.wrap(
            f"{claim['verdict']}: {claim['text']}", WIDTH, subsequent_indent="  "
        )
    lines += ["", *textwrap.wrap("  ".join(contents["warnings"]), WIDTH)]
    if kinds := sorted(leakage.KINDS.keys() & contents["notes"].keys()):
        lines.append(f"† a published protocol that leaks: {', '.join(kinds)}")
    lines += ["· a baseline; percent, mean ± std over folds [95 % interval over patients]"]
    return "\n".join(lines)


def _scores(contents: Contents, label: str) -> Iterable[str]:
    metrics = formatting.metrics_of(contents, label)[:NUM_METRICS]
    head = "".join(f"{shorten(formatting.name(m, label), 26):<27}" for m in metrics)
    yield f"{formatting.LABELS.get(label, label):<36}{head}{'patients':>8}"
    for arm in formatting.arms_of(contents, label):
        if arm["baseline"] or arm["name"] in contents["highlights"][label]:
            scores = "".join(f"{_score_and_interval(arm, m):<27}" for m in metrics)
            mark = ("·" if arm["baseline"] else " ") + ("†" if arm["leak"] else " ")
            yield f"{shorten(mark + arm['name'], 35):<36}{scores}{arm['num_patients']:>8}"


def _domain(entry: Mapping[str, Any]) -> Iterable[str]:
    """Mean ± std over images, the paper, over patients; then how many pairs differ by each test."""
    head, *rows = domain_tables.arms(entry)
    columns = [title.removesuffix(", %").split(" over ")[-1] for title in head[1:-2]]
    yield f"{shorten(domain_tables.title(entry), 34):<35}" + "".join(
        f"{shorten(title, 13):<13}" for title in columns
    )
    for name, *values in rows:
        if name in entry["corrected"]:
            cells = (value.partition("; ")[0] for value in values[:-2])
            yield f" {shorten(name, 33):<34}" + "".join(f"{cell:<13}" for cell in cells)
    found = {test: domain_tables.below(entry, test) for test in domain_tables.TESTS}
    told = ", ".join(f"{test} {few} of {many}" for test, (few, many) in found.items())
    yield f" pairs with p < 0.05 after Holm: {told}"


def _gap(gap: Mapping[str, Any]) -> str:
    if gap["reason"]:
        return f"{gap['text']}: {gap['reason']}"
    found = ", ".join(formatting.gap(gap)[:NUM_METRICS])
    return f"{gap['text']}: {found} points against the leak-free twin"


def _score_and_interval(arm: Mapping[str, Any], metric: str) -> str:
    mean = arm["mean"].get(metric)
    if mean is None:
        return formatting.ours(arm, metric)
    some = "*" if formatting.partial(arm, metric) else ""
    spread = formatting.spread(mean, arm["std"][metric])
    return f"{spread}{some} {formatting.limits(arm['interval'][metric])}"
