"""The report as Markdown: every number of the page, without its pictures."""

from collections.abc import Iterable, Sequence

from lus_ray.evaluation.schema import ArmResult, ClaimResult, GapResult, ReportContents
from lus_ray.report import clip_timeline, domain_tables, formatting, metric_names
from lus_ray.report.formatting import ABSENT

MAX_SPLIT_METRICS = 4
"""Labels with more metrics have one column per metric, so that their tables stay readable."""


def render(contents: ReportContents) -> str:
    data = contents.data
    lines = [
        f"# {contents.title}",
        "",
        "For research only. Not a medical device; no number here may guide the care of a patient.",
        "",
        f"Experiment `{contents.experiment}`, size {contents.size}: "
        f"{data.get('clips')} clips of {data.get('patients')} patients, "
        f"{len(contents.folds['sizes'])} folds.",
        "",
        *(f"- {warning}" for warning in contents.warnings),
        *(f"- Missing: {row.arm}, fold {row.fold}." for row in contents.missing),
        *(f"- {row.arm}, fold {row.fold}: {row.note}" for row in contents.cell_notes),
        "",
    ]
    for label in contents.labels:
        lines += _label_section(contents, label)
    lines += [
        *_domains(contents),
        *_section("Gaps between protocols", map(_gap, contents.gaps)),
        *_raters(contents),
        *_neutral_elements(contents),
        *_section("Clips", (f"- {clip_timeline.caption(clip)}" for clip in contents.clips)),
        *_section("Claims of the paper", (_claim(contents, claim) for claim in contents.claims)),
        *_section("How to read this", (f"- {k}: {v}" for k, v in contents.notes.items())),
    ]
    trace = formatting.provenance(contents)
    lines += ["## Provenance", "", *(f"- {k}: {v}" for k, v in trace.items())]
    return "\n".join(lines) + "\n"


def _section(title: str, lines: Iterable[str]) -> list[str]:
    body = list(lines)
    return [f"## {title}", "", *body, ""] if body else []


def _label_section(contents: ReportContents, label: str) -> Iterable[str]:
    yield from (f"## {metric_names.label_title(label)}", "")
    for title, metrics in metric_names.tables(contents, label):
        yield from (f"{title}:", "") if title else ()
        yield from (*_score_table(contents, label, metrics), "")
    if meanings := metric_names.explain(contents.metrics_of(label), label):
        yield from (*(f"- {name}: {meaning}" for name, meaning in meanings), "")
    if rows := formatting.image_table(contents, label):
        yield from (f"Single images, {formatting.OVER_IMAGES}:", "", *_table(rows), "")


def _score_table(contents: ReportContents, label: str, metrics: Sequence[str]) -> list[str]:
    is_split = len(metrics) <= MAX_SPLIT_METRICS
    head = ["arm"]
    for metric in metrics:
        name = metric_names.name(metric, label)
        head += [name, f"{name} published", f"{name} − best baseline"] if is_split else [name]
    rows = [[*head, "patients", "cost"]]
    for arm in contents.arms_of(label):
        row = [arm.name + "".join(f" ({mark})" for mark in formatting.marks(arm))]
        for metric in metrics:
            row += _score_cells(arm, metric, is_split=is_split)
        rows.append([*row, str(arm.num_patients), formatting.cost(arm)])
    return _table(rows)


def _score_cells(arm: ArmResult, metric: str, *, is_split: bool) -> list[str]:
    limits = formatting.limits(arm.interval.get(metric))
    score = f"{formatting.score(arm, metric)} {limits}".strip()
    paper, versus = formatting.published(arm, metric), formatting.versus_baseline(arm, metric)
    if is_split:
        return [score, paper or ABSENT, versus or ABSENT]
    return [score + (f"; paper {paper}" if paper else "") + (f"; Δ {versus}" if versus else "")]


def _domains(contents: ReportContents) -> Iterable[str]:
    if contents.domains:
        yield from ("## Each domain", "", domain_tables.SPREADS, "")
    for entry in contents.domains or ():
        yield from (f"### {domain_tables.title(entry)}", "")
        yield from (*_table(domain_tables.arm_table(entry)), "")
        if pairs := domain_tables.pair_table(entry):
            yield from (*_table(pairs), "")
            yield from (*(f"- {text}" for text in domain_tables.explain_tests(entry)), "")


def _gap(gap: GapResult) -> str:
    note = f"; {gap.note}" if gap.note else ""
    differences = "; ".join(formatting.gap_differences(gap))
    result = gap.reason or f"{differences} points, {gap.num_patients} patients{note}"
    return f"- **{gap.text}** ({gap.leaky} − {gap.clean}): {result}"


def _raters(contents: ReportContents) -> list[str]:
    raters = contents.raters
    if raters is None:
        return []
    if raters.reason:
        return _section("Raters", [f"Not shown: {raters.reason}."])
    rows = [["rater or arm", "accuracy", "mean difference, scores", "weighted kappa", "clips"]]
    for name, scores, num_clips in formatting.rater_rows(raters):
        shares = [formatting.share(scores.accuracy), formatting.number(scores.difference)]
        rows.append([name, *shares, formatting.share(scores.weighted_kappa), str(num_clips)])
    explanation = (
        "Each is compared with the mean of the other raters; an arm takes the place of each rater "
        "in turn."
    )
    return _section("Raters", [formatting.rater_votes(raters), "", *_table(rows), "", explanation])


def _neutral_elements(contents: ReportContents) -> list[str]:
    if not contents.neutral:
        return []
    head = ["arm", *(f"score {k}" for k in range(len(contents.neutral[0].mean))), "folds"]
    rows = [
        [row.arm, *formatting.neutral_elements(row), str(len(row.folds))]
        for row in contents.neutral
    ]
    return _section("Learned neutral elements", _table([head, *rows]))


def _claim(contents: ReportContents, claim: ClaimResult) -> str:
    evidence = formatting.claim_evidence(contents, claim)
    return f"- **{claim.verdict}**: {claim.text}{f' ({evidence})' if evidence else ''}"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
