"""Pictures of a run as blocks: curves, confusion matrices, training, example clips."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from lus_ray import figures
from lus_ray.evaluation import mask_arms, pooled_scores
from lus_ray.evaluation.results import RunResults
from lus_ray.evaluation.schema import ReportContents
from lus_ray.evaluation.scored_arms import Arms, ScoredArm
from lus_ray.metrics import calibration, classification
from lus_ray.report import clip_timeline, galleries, metric_names
from lus_ray.report.blocks import Block, Details, Paragraph, Pictures
from lus_ray.report.galleries import EXPERT_ARM, Gallery, Picture

ROC_GRID = np.linspace(0, 1, 101)
NUM_TRAINING = 6
NUM_ADVERSARIAL = 2
MAX_ARMS = 6
"""Arms of the first example; the others are folded."""

INPUTS = (
    "Test clips of fold {fold} as the network reads them: its frames at its size. Chosen by name, "
    "independent of all predictions."
)
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

CLIPS = (
    "Test clips, chosen by their true score and a hash of their names, independent of all "
    "predictions. Left: the probability of each score over time, darker where higher; the orange "
    "line is the true frame score where it is known. Middle: clip scores; the star is the true "
    "score, rings are raters, each letter is an aggregator. Right: learned neutral elements from 0 "
    "to 1, in the row of their score."
)


def draw_curves(arms: Arms, names: Sequence[str], label: str) -> list[Block]:
    """Curves and confusion matrices of the named arms of a label."""
    chosen = [arms[name] for name in names]
    has_masks, unit = mask_arms.scheme_of(label) is not None, metric_names.unit(label)
    key = tuple(zip(names, figures.LINES, strict=False))
    blocks: list[Block] = []
    if curves := (*_roc_curves(chosen), *_reliability_curves(chosen)):
        title = "Reliability of pixels" if has_masks else "ROC and reliability"
        blocks.append(Pictures(title, curves, key=key))
    if confusions := tuple(_confusion_matrices(chosen)):
        shares = ", percent of the pixels of each true class" if has_masks else ""
        title = f"Confusion matrices, test {unit} of all folds{shares}"
        blocks.append(Pictures(title, confusions, width_rem=18))
    return blocks


def draw_training(arms: Arms) -> list[Block]:
    if not (panels := tuple(_training_curves(arms))):
        return []
    return [Pictures("", panels, width_rem=18)]


def draw_examples(run: RunResults, contents: ReportContents) -> list[Block]:
    """Example clips with what models saw and predicted; the first of each kind is not folded."""
    blocks: list[Block] = []
    if timelines := _clip_timelines(run, contents):
        first, *others = [Pictures("", (own,), 34, is_captioned=True) for own in timelines]
        blocks += [Paragraph(CLIPS), first, *_fold(others)]
    main = {EXPERT_ARM, *(name for names in contents.highlights.values() for name in names)}
    for title, text, gallery, width_rem, key in _galleries(run):
        rows = [_row(name, own, gallery, width_rem, key) for name, own in gallery.rows]
        by_rank = sorted(range(len(gallery.arms)), key=lambda n: gallery.arms[n] not in main)
        shown = sorted(by_rank[:MAX_ARMS])
        name, pictures = gallery.rows[0]
        some = Gallery(gallery.fold, tuple(gallery.arms[n] for n in shown), ())
        first = _row(name, [pictures[n] for n in shown], some, width_rem, key)
        blocks += [Paragraph(f"{title}. {text.format(fold=gallery.fold)}"), first]
        blocks += _fold(rows if len(first.items) < len(rows[0].items) else rows[1:])
    return blocks


def _fold(rows: Sequence[Block]) -> list[Block]:
    return [Details("More examples and arms", tuple(rows))] if rows else []


def _row(
    name: str, shown: Sequence[Picture | None], gallery: Gallery, width_rem: int, key: Any
) -> Pictures:
    items = tuple(
        Picture(picture.svg, f"{arm}: {picture.caption}")
        for arm, picture in zip(gallery.arms, shown, strict=True)
        if picture
    )
    return Pictures(name, items, width_rem, key=key, is_captioned=True)


def _galleries(run: RunResults) -> list[tuple[str, str, Gallery, int, Any]]:
    """Title, text, pictures, width and key of every kind of pictures that the run has."""
    legend = (("expert", figures.EXPERT), ("arm", figures.ARM))
    read = galleries.read_gallery
    kinds = (
        ("What the model read", INPUTS, read(run, galleries.INPUTS), 26, ()),
        ("Where the network looks", ATTENTION, read(run, galleries.ATTENTION), 14, ()),
        ("Predicted masks", MASKS, read(run, galleries.MASKS), 17, ()),
        ("B-lines of the expert and of every arm", BLINES, galleries.read_segmentations(run), 7,
         legend),
        ("Frames translated to the other domain and back", TRANSLATIONS,
         read(run, galleries.TRANSLATIONS), 17, ()),
    )  # fmt: skip
    return [(title, text, own, rem, key) for title, text, own, rem, key in kinds if own]


def _confusion_matrices(chosen: Sequence[ScoredArm]) -> list[Picture]:
    pictures = []
    for arm in chosen:
        if (counts := pooled_scores.pool_confusion(arm)) is not None:
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
    curves = [pooled_scores.pool_reliability(arm) for arm in chosen]
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


def _clip_timelines(run: RunResults, contents: ReportContents) -> list[Picture]:
    timelines = clip_timeline.draw_timelines(run, contents.clips, contents.neutral)
    pairs = zip(timelines, contents.clips, strict=True)
    return [Picture(svg, clip_timeline.caption(clip)) for svg, clip in pairs]
