"""The page: one HTML file with its style and pictures inside, for a screen or a phone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from lus_ray import figures
from lus_ray.evaluation import mask_arms, scored_arms
from lus_ray.evaluation.results import RunResults
from lus_ray.evaluation.schema import ReportContents
from lus_ray.evaluation.scored_arms import Arms, ScoredArm
from lus_ray.metrics import calibration, classification
from lus_ray.report import clip_timeline, domain_tables, formatting, galleries, metric_names
from lus_ray.report.galleries import Picture
from lus_ray.runs import leakage

ROC_GRID = np.linspace(0, 1, 101)
NUM_TRAINING = 6
NUM_ADVERSARIAL = 2
NUM_COSTS = 20

ATTENTION = (
    "Test frames of fold {fold}. Outlines mark the crops that a network cut out; each crop stands "
    "beside the frame with a border of the same colour and dashes. Shading is a heat map with a "
    "box around its strongest region."
)
MASKS = (
    "Predictions of the models of fold {fold}: the image, masks over it with one colour per class, "
    "and, where it was measured, the spread of each class probability under dropout."
)
BLINES = (
    "Predictions of the models of fold {fold} for up to two patients of each domain; the Dice of "
    "an arm is that of the frame shown."
)
TRANSLATIONS = (
    "Predictions of the models of fold {fold}: a frame, its translation to the other domain, and "
    "the reconstruction from that translation."
)


@dataclass(frozen=True)
class PictureGrid:
    """Pictures of a kind by example and arm, with the meaning of their lines."""

    anchor: str
    title: str
    text: str
    gallery: galleries.Gallery
    key: Sequence[tuple[str, tuple[str, str]]] = ()


def render(contents: ReportContents, arms: Arms, run: RunResults) -> str:
    """The whole page; arm names and all other texts are escaped."""
    environment = Environment(
        loader=PackageLoader("lus_ray.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.jinja").render(
        contents=contents,
        sections=[_section(contents, arms, label) for label in contents.labels],
        training=_training_curves(arms),
        chosen_on_test=leakage.SELECTED in contents.notes,
        cost=_cost_bars(contents),
        clips=_clip_timelines(run, contents),
        grids=_picture_tables(run),
        flows=_picture_flows(run),
        domain_tables=domain_tables,
        formatting=formatting,
        metric_names=metric_names,
        provenance=formatting.provenance(contents),
    )


def _section(contents: ReportContents, arms: Arms, label: str) -> dict[str, Any]:
    highlights = contents.highlights[label]
    chosen = [arms[name] for name in highlights]
    rows = contents.arms_of(label)
    undefined: dict[tuple[str, str], list[str]] = {}
    for arm in rows:
        for item in arm.undefined.items():
            undefined.setdefault(item, []).append(arm.name)
    return {
        "label": label,
        "anchor": label.replace(" ", "_"),
        "has_masks": mask_arms.scheme_of(label) is not None,
        "title": metric_names.label_title(label),
        "unit": metric_names.unit(label),
        "arms": rows,
        "tables": metric_names.tables(contents, label),
        "explained": metric_names.explain(contents.metrics_of(label), label),
        "undefined": undefined,
        "per_image": formatting.image_table(contents, label),
        "errors": {arm.name: arm.calibration_error for arm in rows},
        "key": list(zip(highlights, figures.LINES, strict=False)),
        "curves": [*_roc_curves(chosen), *_reliability_curves(chosen)],
        "confusions": _confusion_matrices(chosen),
        "class_arms": [a for a in rows if a.classes and (a.baseline or a.name in highlights)],
    }


def _confusion_matrices(chosen: Sequence[ScoredArm]) -> list[Picture]:
    pictures = []
    for arm in chosen:
        if (counts := scored_arms.pool_confusion(arm)) is not None:
            names = next(iter(arm.cells.values())).classes or tuple(map(str, range(len(counts))))
            has_masks = mask_arms.scheme_of(arm.label) is not None
            unit = "pixels" if has_masks else metric_names.unit(arm.label)
            alt = f"Confusion matrix of {arm.name}, {counts.sum():.0f} test {unit} over all folds"
            svg = figures.draw_confusion(counts, names, title=arm.name, percent=has_masks)
            pictures.append(Picture(svg, alt))
    return pictures


def _roc_curves(chosen: Sequence[ScoredArm]) -> list[Picture]:
    cells = [cell for arm in chosen for cell in arm.cells.values() if len(cell.clips)]
    if not cells or cells[0].scheme:
        return []
    if cells[0].multilabel:
        titles = ["all biomarkers pooled"]
    else:
        titles = [f"{name} against the rest" for name in cells[0].classes]
    panels = {title: [_mean_roc(arm, k) for arm in chosen] for k, title in enumerate(titles)}
    return [
        Picture(figures.draw_roc(curves, title=title), f"ROC curves, {title}")
        for title, curves in panels.items()
        if any(len(false_rate) for false_rate, _ in curves)
    ]


def _mean_roc(arm: ScoredArm, column: int) -> figures.Curve:
    true_rates: list[np.ndarray] = []
    for cell in arm.cells.values():
        is_untrained = not (cell.multilabel or cell.knows(column))
        if is_untrained or classification.explain_unusable(cell.probability):
            continue
        if cell.multilabel:
            annotated = cell.annotated
            positive, probability = cell.target[annotated] == 1, cell.probability[annotated]
        else:
            positive, probability = cell.target == column, cell.probability[:, column]
        if 0 < positive.sum() < len(positive):
            true_rates.append(np.interp(ROC_GRID, *calibration.roc(positive, probability)))
    if not true_rates:
        return np.zeros(0), np.zeros(0)
    return np.append(0, ROC_GRID), np.append(0, np.mean(true_rates, axis=0))


def _reliability_curves(chosen: Sequence[ScoredArm]) -> list[Picture]:
    curves = [scored_arms.pool_reliability(arm) for arm in chosen]
    if all(curve is None for curve in curves):
        return []
    svg = figures.draw_reliability(curves, title="reliability")
    return [Picture(svg, "Reliability: share of correct predictions against confidence")]


def _training_curves(arms: Arms) -> list[Picture]:
    trained = [a for a in arms.values() if any("train_loss" in row for row in _epochs(a))]
    pictures = [_curves_by_epoch(arm, "train_loss", "val_score") for arm in trained[:NUM_TRAINING]]
    adversarial = [arm for arm in trained if len(_network_losses(arm)) > 1]
    for arm in adversarial[:NUM_ADVERSARIAL]:
        losses = _network_losses(arm)
        pairs = zip_longest(losses[::2], losses[1::2], fillvalue="val_score")
        pictures += [_curves_by_epoch(arm, *pair) for pair in pairs]
    return pictures


def _network_losses(arm: ScoredArm) -> list[str]:
    columns = dict.fromkeys(name for row in _epochs(arm) for name in row)
    return [
        n for n in columns if n.startswith("train_") and n.endswith("_loss") and n != "train_loss"
    ]


def _epochs(arm: ScoredArm) -> list[Mapping[str, Any]]:
    return [row for cell in arm.cells.values() for row in cell.epochs]


def _curves_by_epoch(arm: ScoredArm, left: str, right: str) -> Picture:
    folds = {
        fold: {
            name: [float(row[name]) for row in cell.epochs if row.get(name) is not None]
            for name in (left, right)
        }
        for fold, cell in arm.cells.items()
        if any(left in row for row in cell.epochs)
    }
    svg = figures.draw_training(folds, left=left, right=right, title=arm.name)
    names = " and ".join(column.replace("_", " ") for column in (left, right))
    return Picture(svg, f"Training of {arm.name}: {names}")


def _cost_bars(contents: ReportContents) -> Picture | None:
    minutes = {arm.name: cpu_s / 60 for arm in contents.arms if (cpu_s := arm.cost.get("cpu_s"))}
    top = sorted(minutes.items(), key=lambda entry: -entry[1])[:NUM_COSTS]
    if not top:
        return None
    svg = figures.draw_bars(dict(top), label="CPU minutes over all folds")
    return Picture(svg, "CPU minutes by arm")


def _clip_timelines(run: RunResults, contents: ReportContents) -> list[Picture]:
    timelines = clip_timeline.draw_timelines(run, contents.clips, contents.neutral)
    pairs = zip(timelines, contents.clips, strict=True)
    return [Picture(svg, clip_timeline.caption(clip)) for svg, clip in pairs]


def _picture_tables(run: RunResults) -> list[PictureGrid]:
    return [
        PictureGrid(anchor, title, text, gallery)
        for kind, anchor, title, text in (
            (galleries.ATTENTION, "attention", "Where the network looks", ATTENTION),
            (galleries.MASKS, "masks", "Predicted masks", MASKS),
        )
        if (gallery := galleries.read_gallery(run, kind))
    ]


def _picture_flows(run: RunResults) -> list[PictureGrid]:
    """Grids of many arms, whose small pictures flow from line to line."""
    grids = []
    if gallery := galleries.read_segmentations(run):
        key = (("expert", figures.EXPERT), ("arm", figures.ARM))
        title = "B-lines of the expert and of every arm"
        grids.append(PictureGrid("blines", title, BLINES, gallery, key))
    if gallery := galleries.read_gallery(run, galleries.TRANSLATIONS):
        title = "Frames translated to the other domain and back"
        grids.append(PictureGrid("translations", title, TRANSLATIONS, gallery))
    return grids
