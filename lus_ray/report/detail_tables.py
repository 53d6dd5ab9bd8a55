"""Tables beside the main scores: cohort, costs, classes, biomarkers, single images, raters."""

from collections.abc import Mapping, Sequence

from lus_ray.data.labels import label_name, label_title
from lus_ray.evaluation.schema import (
    ArmResult,
    ImageSpread,
    NeutralElements,
    RaterComparison,
    RaterScores,
    ReportContents,
    SplitCounts,
)
from lus_ray.folds import SPLITS
from lus_ray.report import formatting, metric_names
from lus_ray.report.blocks import Cell, Table

NUM_COSTS = 6
"""Arms in the short table of costs."""

IMAGES = (
    "Mean ± standard deviation over the test images of all folds, with their number where not all "
    "define the metric."
)
COHORT = (
    "The last columns count annotated clips by class; of frame scores, frames; of masks, frames "
    "that show the class."
)
COSTS = (
    "Sums over the finished folds of the arm itself, without the arms that it starts from or reads;"
    " memory is the peak of all folds."
)
RATERS = (
    "Each rater is compared with the mean score of the others, rounded half up. An arm takes the "
    "place of each rater in turn, so that the comparison is the same. The arms are the best of "
    "their kind on the test patients."
)
NEUTRAL = (
    "A frame probability above the neutral element of a score counts for that score, one below it "
    "against; mean ± standard deviation over folds."
)


def cohort_table(contents: ReportContents) -> Table:
    """One row per fold and split."""
    labels = list(dict.fromkeys(label for own in contents.splits for label in own.classes))
    names = {
        label: next(list(own.classes[label]) for own in contents.splits if label in own.classes)
        for label in labels
    }
    titles = [f"{label_title(label)}: {', '.join(names[label])}" for label in labels]
    is_external = contents.evaluation_of is not None
    rows = tuple(
        (
            Cell("external clips" if is_external else f"fold {own.fold}, {own.split}"),
            formatting.number(own.num_patients, "d"),
            formatting.number(own.num_clips, "d"),
            *(_class_counts(own, label) for label in labels),
        )
        for own in contents.splits
    )
    return Table(
        "cohort",
        "",
        ("" if is_external else "Fold and split", "Patients", "Clips", *titles),
        rows,
        COHORT,
        plain=frozenset(n for n, own in enumerate(contents.splits) if own.split == SPLITS[-1]),
    )


def cost_table(arms: Sequence[ArmResult], *, name: str, title: str) -> Table:
    spent = sorted(arms, key=lambda arm: -(arm.cost.get("wall_s") or 0))
    rows = tuple(
        (
            Cell(arm.name),
            *(
                formatting.duration_cell(arm.cost.get(unit))
                for unit in ("wall_s", "cpu_s", "gpu_s")
            ),
            _gigabytes(arm.cost.get("peak_mb")),
            formatting.number(arm.cost.get("epochs"), "d"),
        )
        for arm in spent
    )
    columns = ("Arm", "Time", "CPU time", "GPU time", "Memory, GB", "Epochs")
    return Table(name, title, columns, rows, COSTS)


def class_table(arms: Sequence[ArmResult], label: str) -> Table:
    rows = tuple(
        (
            Cell(f"{arm.name}: {name}", _scored_folds(arm, scores.num_folds)),
            formatting.number(scores.num_true, ".0f"),
            *(formatting.share(v) for v in (scores.precision, scores.recall, scores.f1)),
        )
        for arm in arms
        for name, scores in arm.classes.items()
    )
    title = f"Each class, {label_name(label)}"
    caption = f"Pooled over the test {metric_names.unit(label)} of all folds."
    columns = ("Class", "True", "Precision, %", "Recall, %", "F1, %")
    return Table(f"classes {label}", title, columns, rows, caption)


def biomarker_table(arm: ArmResult) -> Table:
    rows = tuple(
        (
            Cell(name, _scored_folds(arm, own.num_folds)),
            formatting.number(own.num_judged, "d"),
            formatting.number(own.num_seen, "d"),
            *(formatting.share(v) for v in (own.auc, own.accuracy, own.precision, own.f1)),
        )
        for name, own in arm.biomarkers.items()
    )
    columns = ("Biomarker", "Judged", "Present", "AUC, %", "Accuracy, %", "Precision, %", "F1, %")
    caption = "Judged and present are numbers of test clips, summed over folds."
    return Table(f"biomarkers {arm.name}", f"Each biomarker, {arm.name}", columns, rows, caption)


def image_table(contents: ReportContents, label: str) -> Table | None:
    """Scores of single images and calibration; None for labels without masks."""
    arms = [arm for arm in contents.arms_of(label) if arm.per_image]
    if not arms:
        return None
    metrics = list(arms[0].per_image)
    rows = []
    for arm in arms:
        spreads = [arm.per_image[metric] for metric in metrics]
        number = max(own.num_images for own in spreads)
        values = [_over_images(own, number) for own in spreads]
        error = formatting.share(arm.calibration_error)
        rows.append((Cell(arm.name), *values, formatting.number(number, "d"), error))
    names = [f"{metric_names.title(metric, label)}, %" for metric in metrics]
    columns = ("Arm", *names, "Images", "Expected calibration error, %")
    title = f"Single images, and calibration of their pixels, {label_name(label)}"
    return Table(f"images {label}", title, columns, tuple(rows), IMAGES)


def rater_table(raters: RaterComparison) -> Table:
    people = enumerate(raters.one_against_others, start=1)
    scored: list[tuple[str, RaterScores, int]] = [
        *((f"rater {k}", own, raters.num_clips) for k, own in people),
        *((f"{arm.name} ({arm.kind})", arm, arm.num_clips) for arm in raters.arms or ()),
    ]  # fmt: skip
    rows = tuple(
        (
            Cell(name),
            formatting.share(own.accuracy),
            formatting.number(own.difference),
            formatting.share(own.weighted_kappa),
            formatting.number(num_clips, "d"),
        )
        for name, own, num_clips in scored
    )
    columns = (
        "Rater or arm",
        "Accuracy, %",
        "Mean difference, scores",
        "Weighted kappa, %",
        "Clips",
    )
    return Table("raters", "", columns, rows, RATERS)


def describe_votes(raters: RaterComparison) -> str:
    modal = ", ".join(
        f"at least {votes} votes in {formatting.share(value).text} %"
        for votes, value in enumerate(raters.modal, start=1)
        if votes > 1
    )
    return (
        f"{raters.num_raters} raters of {raters.num_clips} clips: two raters agree in "
        f"{formatting.share(raters.pairwise).text} % of clips; the most frequent score has "
        f"{modal}; it is tied in {formatting.share(raters.mode_ties).text} %."
    )


def neutral_table(neutral: Sequence[NeutralElements]) -> Table:
    rows = tuple(
        (
            Cell(row.arm),
            *(
                Cell(
                    f"{mean:.3f}" + (f" ± {std:.3f}" if len(row.folds) > 1 else ""),
                    numbers={"": mean, "std": std},
                )
                for mean, std in zip(row.mean, row.std, strict=True)
            ),
            formatting.number(len(row.folds), "d"),
        )
        for row in neutral
    )
    columns = ("Arm", *(f"Score {k}" for k in range(len(neutral[0].mean))), "Folds")
    return Table("neutral", "", columns, rows, NEUTRAL)


def _class_counts(own: SplitCounts, label: str) -> Cell:
    counts: Mapping[str, int] = own.classes.get(label, {})
    text = " / ".join(str(number) for number in counts.values()) or formatting.ABSENT
    return Cell(text, numbers=dict(counts))


def _gigabytes(megabytes: float | int | None) -> Cell:
    return formatting.number(megabytes and megabytes / 1000, ".1f")


def _scored_folds(arm: ArmResult, num_folds: int | None) -> tuple[str, ...]:
    return (f"scored in {num_folds} of {len(arm.folds)} folds",) if num_folds else ()


def _over_images(images: ImageSpread, number: int) -> Cell:
    is_partial = images.mean is not None and images.num_images < number
    note = f" ({images.num_images})" if is_partial else ""
    return formatting.spread_cell(images.mean, images.std, note=note)
