"""The page: one HTML file with its style and pictures inside, for a screen or a phone."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from lus_ray import figures
from lus_ray.evaluation import mask_arms, scored_arms
from lus_ray.evaluation.results import Run
from lus_ray.evaluation.scored_arms import ScoredArm
from lus_ray.metrics import calibration, classification
from lus_ray.report import clip_timeline, domain_tables, formatting, galleries
from lus_ray.runs import leakage

Contents = Mapping[str, Any]
GRID = np.linspace(0, 1, 101)
NUM_TRAINING = 6
NUM_ADVERSARIAL = 2
NUM_COSTS = 20

LOOKED = (
    "Test frames of fold {fold}. Outlines are the crops that a network cut out, each beside it in "
    "a frame of the same colour and dashes; shading is a heat map with the box around its "
    "strongest part."
)
OUTLINED = (
    "Drawn by the models of fold {fold}. The image, then masks over it with one colour a class, "
    "then, where it was measured, how far the probability of each class spreads when dropout stays "
    "on."
)
BLINES = (
    "Drawn by the models of fold {fold}, up to two patients of each domain; an arm's Dice is that "
    "of the one frame shown."
)
TRANSLATED = (
    "Drawn by the models of fold {fold}: a frame, how the arm would show it in the other domain, "
    "and what it makes of that when it brings it back."
)


@dataclass(frozen=True)
class Picture:
    """An image for the page and the sentence that stands in for it."""

    source: str
    alt: str


def html(contents: Contents, arms: Mapping[str, ScoredArm], run: Run) -> str:
    """The whole page; arm names and every other text are escaped."""
    environment = Environment(
        loader=PackageLoader("lus_ray.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("page.html.jinja")
    sections = [_section(contents, arms, label) for label in formatting.labels_of(contents)]
    return template.render(
        contents=contents,
        sections=sections,
        training=_training(arms),
        chosen_on_test=leakage.SELECTED in contents["notes"],
        cost=_costs(contents),
        clips=_clips(run, contents),
        grids=_tables(run),
        flows=_flows(run),
        domains=domain_tables.entries(contents),
        domain_tables=domain_tables,
        tables=formatting,
        trace=formatting.trace(contents),
    )


def _section(contents: Contents, arms: Mapping[str, ScoredArm], label: str) -> dict[str, Any]:
    chosen = [arms[name] for name in contents["highlights"][label]]
    rows = formatting.arms_of(contents, label)
    return {
        "label": label,
        "anchor": label.replace(" ", "_"),
        "pixels": mask_arms.scheme_of(label) is not None,
        "per_image": formatting.per_image(contents, label),
        "title": formatting.LABELS.get(label, label),
        "unit": formatting.unit(label),
        "explained": formatting.explained(contents, label),
        "blocks": formatting.blocks(contents, label),
        "arms": rows,
        "undefined": [(a["name"], m, why) for a in rows for m, why in a["undefined"].items()],
        "errors": {a["name"]: a["calibration_error"] for a in rows},
        "key": list(zip([arm.name for arm in chosen], figures.LINES, strict=False)),
        "curves": [*_roc(chosen), *_reliability(chosen)],
        "confusions": _confusions(chosen),
        "classes": [
            (a["name"], a["classes"])
            for a in rows
            if "classes" in a and (a["baseline"] or a["name"] in contents["highlights"][label])
        ],
        "biomarkers": [(a["name"], a["biomarkers"]) for a in rows if "biomarkers" in a],
    }


def _confusions(chosen: Sequence[ScoredArm]) -> list[Picture]:
    found = []
    for arm in chosen:
        counts = scored_arms.pooled_confusion(arm)
        if counts is not None:
            names = next(iter(arm.cells.values())).classes or tuple(map(str, range(len(counts))))
            of_pixels = mask_arms.scheme_of(arm.label) is not None
            unit = "pixels" if of_pixels else formatting.unit(arm.label)
            alt = f"Confusion matrix of {arm.name}, {counts.sum():.0f} test {unit} over all folds"
            svg = figures.draw_confusion(counts, names, title=arm.name, percent=of_pixels)
            found.append(_picture(svg, alt))
    return found


def _roc(chosen: Sequence[ScoredArm]) -> list[Picture]:
    """One panel a class, each class against the rest; all yes/no labels pooled into one."""
    cells = [cell for arm in chosen for cell in arm.cells.values() if len(cell.clips)]
    if not cells or cells[0].scheme:
        return []
    if cells[0].multilabel:
        titles = ["all biomarkers pooled"]
    else:
        titles = [f"{name} against the rest" for name in cells[0].classes]
    found = []
    for number, title in enumerate(titles):
        curves = [_mean_roc(arm, number) for arm in chosen]
        if any(len(false) for false, _ in curves):
            svg = figures.draw_roc(curves, title=title)
            found.append(_picture(svg, f"ROC curves, {title}"))
    return found


def _mean_roc(arm: ScoredArm, column: int) -> figures.Curve:
    """True positive rate averaged over the folds that have both kinds; empty where none has."""
    heights: list[np.ndarray] = []
    for cell in arm.cells.values():
        if classification.explain_unusable(cell.probability):
            continue
        if cell.multilabel:
            judged = cell.target >= 0
            positive, value = cell.target[judged] == 1, cell.probability[judged]
        else:
            positive, value = cell.target == column, cell.probability[:, column]
        if 0 < positive.sum() < len(positive):
            heights.append(np.interp(GRID, *calibration.roc(positive, value)))
    if not heights:
        return np.zeros(0), np.zeros(0)
    return np.append(0, GRID), np.append(0, np.mean(heights, axis=0))


def _reliability(chosen: Sequence[ScoredArm]) -> list[Picture]:
    curves = [scored_arms.reliability(arm) for arm in chosen]
    if all(curve is None for curve in curves):
        return []
    svg = figures.draw_reliability(curves, title="reliability")
    return [_picture(svg, "Reliability: share that was right against confidence")]


def _training(arms: Mapping[str, ScoredArm]) -> list[Picture]:
    """Loss and validation score by epoch of arms that were trained in epochs, then of players.

    Of arms with several players the loss of each, two a panel in the order of their turns.
    """
    trained = [a for a in arms.values() if any("train_loss" in row for row in _epochs(a))]
    found = [_by_epoch(arm, "train_loss", "val_score") for arm in trained[:NUM_TRAINING]]
    adversarial = [arm for arm in trained if len(_players(arm)) > 1]
    for arm in adversarial[:NUM_ADVERSARIAL]:
        turns = _players(arm)
        pairs = zip_longest(turns[::2], turns[1::2], fillvalue="val_score")
        found += [_by_epoch(arm, *pair) for pair in pairs]
    return found


def _players(arm: ScoredArm) -> list[str]:
    """The columns of epochs that are the loss of a player."""
    named = dict.fromkeys(name for row in _epochs(arm) for name in row)
    return [
        n for n in named if n.startswith("train_") and n.endswith("_loss") and n != "train_loss"
    ]


def _epochs(arm: ScoredArm) -> list[Mapping[str, Any]]:
    return [row for cell in arm.cells.values() for row in cell.epochs]


def _by_epoch(arm: ScoredArm, left: str, right: str) -> Picture:
    """Two columns of the epochs of each fold."""
    folds = {
        fold: {
            name: [float(row[name]) for row in cell.epochs if row.get(name) is not None]
            for name in (left, right)
        }
        for fold, cell in arm.cells.items()
        if any(left in row for row in cell.epochs)
    }
    svg = figures.draw_training(folds, left=left, right=right, title=arm.name)
    return _picture(svg, f"Training of {arm.name}: {_spelled(left)} and {_spelled(right)}")


def _spelled(column: str) -> str:
    return column.replace("_", " ")


def _costs(contents: Contents) -> Picture | None:
    """CPU minutes of the most expensive arms."""
    minutes = {
        arm["name"]: arm["cost"]["cpu_s"] / 60
        for arm in contents["arms"]
        if arm["cost"].get("cpu_s")
    }
    top = sorted(minutes.items(), key=lambda entry: -entry[1])[:NUM_COSTS]
    if not top:
        return None
    svg = figures.draw_bars(dict(top), label="CPU minutes over all folds")
    return _picture(svg, "CPU minutes by arm")


def _clips(run: Run, contents: Contents) -> list[Picture]:
    """One strip a chosen clip; its caption stands below it and in its place."""
    drawn = clip_timeline.draw_timelines(run, contents["clips"], contents["neutral"])
    facts = zip(drawn, contents["clips"], strict=True)
    return [_picture(svg, clip_timeline.caption(fact)) for svg, fact in facts]


def _tables(run: Run) -> list[dict[str, Any]]:
    """Grids that are tables: few arms, each picture large."""
    looks, masks = (galleries.grid(run, kind) for kind in (galleries.LOOKS, galleries.MASKS))
    found = (
        _grid(looks, "looked", "Where the network looked", LOOKED),
        _grid(masks, "outlined", "What was outlined", OUTLINED),
    )
    return [grid for grid in found if grid is not None]


def _flows(run: Run) -> list[dict[str, Any]]:
    """Grids of many arms, whose small pictures flow from line to line."""
    translations = galleries.grid(run, galleries.TRANSLATIONS)
    key = (("expert", figures.EXPERT), ("arm", figures.ARM))
    there_and_back = "Frames of one domain as the other would show them, and back"
    every_arm = "B-lines as the expert and every arm outline them"
    found = (
        _grid(galleries.beside_expert(run), "blines", every_arm, BLINES, key=key),
        _grid(translations, "translated", there_and_back, TRANSLATED),
    )
    return [grid for grid in found if grid is not None]


def _grid(
    grid: galleries.Grid | None,
    anchor: str,
    title: str,
    text: str,
    *,
    key: Sequence[tuple[str, tuple[str, str]]] = (),
) -> dict[str, Any] | None:
    """Pictures of a kind by example and arm, and what their lines mean."""
    if grid is None:
        return None
    rows = [
        (name, [one and _picture(one.svg, one.caption) for one in looked])
        for name, looked in grid.rows
    ]
    facts = {"anchor": anchor, "title": title, "text": text.format(fold=grid.fold), "key": key}
    return {**facts, "arms": grid.arms, "rows": rows}


def _picture(svg: str, alt: str) -> Picture:
    packed = base64.b64encode(svg.encode()).decode()
    return Picture(f"data:image/svg+xml;base64,{packed}", alt)
