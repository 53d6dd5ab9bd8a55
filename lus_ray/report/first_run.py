"""What `lus demo` prints: a dozen lines on what was made and found, and what to do next."""

import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path

from lus_ray.data.labels import label_title
from lus_ray.evaluation.schema import ArmResult, ReportContents
from lus_ray.report import conclusions, formatting, metric_names

WIDTH = 96
INDENT = 12


def render(contents: ReportContents, folder: Path, *, seconds: float) -> str:
    """Lines of at most `WIDTH` characters but for paths; `seconds` is how long the demo took."""
    found = conclusions.conclude(contents)
    run = shlex.quote(str(folder))
    claims = [
        (claim.verdict.capitalize(), f"{claim.text} {formatting.claim_evidence(contents, claim)}.")
        for claim in contents.claims
    ]
    parts = [("Made", found.data), *_results(contents), *claims, ("How sure", found.certainty)]
    page = f"{folder / 'report.html'}  (all of this took {seconds:.0f} s)"
    steps = (
        f"lus serve {run}    # a page that reads a clip, at http://127.0.0.1:8000",
        "lus ingest folder MY_CLIPS --init    # a table to fill in for your own clips",
        "lus run --help    # the studies that they can take part in",
    )
    lines = [line for name, text in parts for line in _wrap(name, text)]
    lines += [f"{'Report':{INDENT}}{page}"]
    lines += [f"{'' if number else 'Next':{INDENT}}{step}" for number, step in enumerate(steps)]
    return "\n".join(lines)


def _results(contents: ReportContents) -> Iterator[tuple[str, str]]:
    """For each label the best baseline, and every other arm with its difference from it."""
    for label in contents.labels:
        metric = conclusions.leading_metric(contents, label)
        arms = [arm for arm in contents.arms_of(label) if metric and arm.mean.get(metric)]
        baselines = [arm for arm in arms if arm.baseline]
        if metric is None or not baselines:
            continue
        ranked = sorted(arms, key=lambda arm: -(arm.mean[metric] or 0.0))
        best = next(arm for arm in ranked if arm.baseline)
        others = [_score(arm, metric) for arm in ranked if not arm.baseline]
        name = metric_names.name(metric, label)
        text = f"{name} {_score(best, metric)} (baseline); {', '.join(others)}."
        yield label_title(label), text


def _score(arm: ArmResult, metric: str) -> str:
    """`decision tree on biomarkers 81.2 (+10.1 [+6.4, +13.8])`: percent, points above baseline."""
    versus = arm.difference.get(metric)
    more = "" if versus is None or versus.value is None else f" ({formatting.points(versus)})"
    name = metric_names.short_name(arm.method, arm.label)
    return f"{name} {formatting.percent_text(arm.mean[metric])}{more}"


def _wrap(name: str, text: str) -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=f"{name:{INDENT}}", subsequent_indent=" " * INDENT
    )
