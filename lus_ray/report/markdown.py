"""The report as Markdown: every number of the page, without its pictures."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lus_ray.report import clip_timeline, domain_tables, formatting
from lus_ray.report.formatting import ABSENT

Contents = Mapping[str, Any]
MANY = 4
"""A label with more metrics than this has one column a metric, so that its table can be read."""


def markdown(contents: Contents) -> str:
    """The whole report as Markdown."""
    data = contents["data"]
    lines = [
        f"# {contents['title']}",
        "",
        "For research only. Not a medical device; no number here may guide the care of a patient.",
        "",
        f"Experiment `{contents['experiment']}`, size {contents['size']}: "
        f"{data.get('clips')} clips of {data.get('patients')} patients, "
        f"{len(contents['folds']['sizes'])} folds.",
        "",
        *(f"- {warning}" for warning in contents["warnings"]),
        *(f"- Missing: {row['arm']}, fold {row['fold']}." for row in contents["missing"]),
        *(f"- {row['arm']}, fold {row['fold']}: {row['note']}" for row in contents["cell_notes"]),
        "",
    ]
    for label in formatting.labels_of(contents):
        lines += [f"## {formatting.LABELS.get(label, label)}", ""]
        for title, metrics in formatting.blocks(contents, label):
            lines += [f"{title}:", ""] if title else []
            lines += [*_scores(contents, label, metrics), ""]
        if meanings := formatting.explained(contents, label):
            lines += [*(f"- {name}: {meaning}" for name, meaning in meanings), ""]
        if rows := formatting.per_image(contents, label):
            lines += [f"Single images, {formatting.OVER_IMAGES}:", "", *_table(rows), ""]
    lines += [
        *_domains(contents),
        *_gaps(contents),
        *_raters(contents),
        *_neutral(contents),
        *_clips(contents),
    ]
    if contents["claims"]:
        lines += [
            "## Claims of the paper",
            "",
            *(_claim(contents, entry) for entry in contents["claims"]),
            "",
        ]
    lines += ["## How to read this", "", *(f"- {k}: {v}" for k, v in contents["notes"].items())]
    lines += [
        "",
        "## Where it comes from",
        "",
        *(f"- {k}: {v}" for k, v in formatting.trace(contents).items()),
    ]
    return "\n".join(lines) + "\n"


def _scores(contents: Contents, label: str, metrics: Sequence[str]) -> list[str]:
    head = ["arm"]
    for metric in metrics:
        name = formatting.name(metric, label)
        more = [] if len(metrics) > MANY else [f"{name} published", f"{name} − best baseline"]
        head += [name, *more]
    rows = [[*head, "patients", "cost"]]
    for arm in formatting.arms_of(contents, label):
        row = [arm["name"] + "".join(f" ({mark})" for mark in formatting.marks(arm))]
        for metric in metrics:
            row += _together(arm, metric) if len(metrics) > MANY else _apart(arm, metric)
        rows.append([*row, str(arm["num_patients"]), formatting.cost(arm)])
    return _table(rows)


def _apart(arm: Mapping[str, Any], metric: str) -> list[str]:
    """Score, published score and difference in three columns."""
    score = (
        f"{formatting.ours(arm, metric)} {formatting.limits(arm['interval'].get(metric))}".strip()
    )
    return [
        score,
        formatting.published(arm, metric) or ABSENT,
        formatting.versus(arm, metric) or ABSENT,
    ]


def _together(arm: Mapping[str, Any], metric: str) -> list[str]:
    """The same in one column; what is not known is left out."""
    score = (
        f"{formatting.ours(arm, metric)} {formatting.limits(arm['interval'].get(metric))}".strip()
    )
    paper, versus = formatting.published(arm, metric), formatting.versus(arm, metric)
    return [score + (f"; paper {paper}" if paper else "") + (f"; Δ {versus}" if versus else "")]


def _domains(contents: Contents) -> Iterable[str]:
    found = domain_tables.entries(contents)
    if found:
        yield from ("## Each domain", "", domain_tables.SPREADS, "")
    for entry in found:
        yield from (f"### {domain_tables.title(entry)}", "")
        yield from (*_table(domain_tables.arms(entry)), "")
        for matrix in domain_tables.matrices(entry):
            yield from (f"{matrix.title}, {entry['domain']}. {matrix.meaning}", "")
            head = ["p after Holm", *(str(k + 1) for k in range(len(matrix.names) - 1))]
            rows = [
                [f"{k} {name}", *(f"**{p}**" if below else p for p, below in cells)]
                for k, (name, cells) in enumerate(zip(matrix.names, matrix.rows, strict=True), 1)
            ]
            yield from (*_table([head, *rows]), "")


def _gaps(contents: Contents) -> Iterable[str]:
    if not contents["gaps"]:
        return
    yield from ("## Gaps between protocols", "")
    for gap in contents["gaps"]:
        found = "; ".join(formatting.gap(gap))
        note = f"; {gap['note']}" if "note" in gap else ""
        told = gap["reason"] or f"{found} points, {gap['num_patients']} patients{note}"
        yield f"- **{gap['text']}** ({gap['leaky']} − {gap['clean']}): {told}"
    yield ""


def _raters(contents: Contents) -> Iterable[str]:
    raters = contents["raters"]
    if raters is None:
        return
    yield from ("## Raters", "")
    if raters["reason"]:
        yield from (f"Not shown: {raters['reason']}.", "")
        return
    yield from (formatting.votes(raters), "")
    rows = [["who", "accuracy", "mean difference, scores", "weighted kappa", "clips"]]
    for name, row in formatting.agreeing(raters):
        rates = [formatting.share(row["accuracy"]), formatting.number(row["difference"])]
        rows.append([name, *rates, formatting.share(row["weighted_kappa"]), str(row["num_clips"])])
    yield from (
        *_table(rows),
        "",
        "Each against the mean of the other raters; an arm takes the place of each rater in turn.",
        "",
    )


def _neutral(contents: Contents) -> Iterable[str]:
    if not contents["neutral"]:
        return
    yield from ("## Learned neutral elements", "")
    num_scores = len(contents["neutral"][0]["mean"])
    head = ["arm", *(f"score {k}" for k in range(num_scores)), "folds"]
    rows = [[r["arm"], *formatting.elements(r), str(len(r["folds"]))] for r in contents["neutral"]]
    yield from (*_table([head, *rows]), "")


def _clips(contents: Contents) -> Iterable[str]:
    if contents["clips"]:
        yield from (
            "## Clips",
            "",
            *(f"- {clip_timeline.caption(c)}" for c in contents["clips"]),
            "",
        )


def _claim(contents: Contents, claim: Mapping[str, Any]) -> str:
    found = ""
    if claim.get("difference") is not None:
        label = formatting.label_of(contents, claim["better"])
        found = (
            f" ({formatting.name(claim['metric'], label)} {100 * claim['difference']:+.1f} "
            f"{formatting.limits(claim['interval'], sign='+')}, {claim['num_patients']} patients)"
        )
    reason = f" ({claim['reason']})" if claim.get("reason") else ""
    return f"- **{claim['verdict']}**: {claim['text']}{found}{reason}"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table; the first row is its head."""
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
