"""Model cards: what a model was trained on, and how well it does on validation patients.

Letters: D draws of patients.
Why validation: no test score may decide what a service shows. The epoch and the fold were chosen
on the same patients, so these scores are slightly too good.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow.compute as pc
from jaxtyping import Float
from scipy import stats

from lus_ray.clip import SYNTHETIC
from lus_ray.data.labels import label_name
from lus_ray.evaluation import results, scored_arms
from lus_ray.evaluation.method_names import name_method
from lus_ray.evaluation.scored_arms import ScoredArm
from lus_ray.inference.estimates import format_estimate, name_metric
from lus_ray.inference.model_reports import NO_CARD, UNKNOWN
from lus_ray.inference.schema import Estimate, ModelCard
from lus_ray.inference.served_model import ModelReport, ServedModel
from lus_ray.metrics.bootstrap import LEVEL, MIN_PATIENTS, percentile_interval
from lus_ray.metrics.multilabel import MultilabelScores
from lus_ray.runs import leakage, manifest, predictions
from lus_ray.runs.layout import RunFolder
from lus_ray.runs.manifest import ArmRecord, RunRecord
from lus_ray.training import checkpoint

NUM_DRAWS = 1000
SEED = 0
CHANCE_AUC = 0.5

PARTS = {"Biomarkers": "lung signs", "FrameScore": "frame scores", "VideoScore": "clip score"}
"""What a model predicts, by task name; masks for all others but experts."""


def is_above(
    draws: Float[np.ndarray, "D"], value: float, limit: float, *, patients: int, models: int
) -> bool:
    """Whether a value exceeds a limit although `models` models were tried.

    The percentile interval must lie above it, and so must the interval of Student's t with the
    level that Bonferroni's correction asks for.
    """
    interval = percentile_interval(draws, num_patients=patients)
    if patients < MIN_PATIENTS or not interval.low > limit:
        return False
    quantile = stats.t.ppf(1 - (1 - LEVEL) / 2 / models, patients - 1)
    return bool(value - quantile * np.nanstd(draws) > limit)


def describe_group(models: Sequence[ServedModel]) -> dict[str, ModelReport]:
    """Models of one run, fold, kind and label."""
    first = models[0]
    record = manifest.read(first.run_folder)
    arms = {arm.name: arm for arm in record.arms}
    scored = _score(first, [*(m.arm for m in models), *_baselines(record, first.label)], record)
    served = [scored[model.arm] for model in models if model.arm in scored]
    metric = _choose_metric(served, record.metrics)
    best = scored_arms.best_arm([arm for arm in scored.values() if arm.baseline], metric)
    reports = {}
    for model in models:
        arm = scored.get(model.arm)
        card = replace(_trained_on(model), size=record.size or UNKNOWN, metric=metric)
        if arm is not None and arm.defined_folds(metric):
            card = _validate(card, arm, num_models=len(models))
            if best is not None and not arm.baseline:
                baseline = name_method(arms[best.name], arms)
                card = _compare(card, arm, best, baseline, num_models=len(models))
        card = replace(card, summary=_describe_card(card))
        task = checkpoint.read_description(model.folder)
        report = ModelReport(_title_model(task, arms[model.arm], arms), card)
        if arm is not None and model.kind == "backbone":
            trained, score = _score_signs(arm)
            report = replace(report, trained=trained, score=score)
        reports[model.id] = report
    return reports


def _title_model(task: Mapping[str, Any], arm: ArmRecord, arms: Mapping[str, ArmRecord]) -> str:
    """Such as "severity: support vector machine on biomarkers"; `task` is its description."""
    if task["name"] == "Expert":
        method = name_method(replace(arm, task=dict(task)), arms)
        return f"{label_name(arm.label or '')}: {method}"
    part = PARTS.get(task["name"], "masks")
    if task["name"] in ("Biomarkers", "ClipLabel"):
        part = part if task["name"] == "Biomarkers" else label_name(arm.label or "")
        backbone = task["arguments"].get("backbone") or {}
        return f"{part}: {backbone.get('net', {}).get('name', arm.name)} network"
    return f"{part}: {arm.name}"


def _score(first: ServedModel, names: Iterable[str], record: RunRecord) -> dict[str, ScoredArm]:
    """Arms on the validation patients of the served fold and seed, those that have finished it."""
    unscored = [
        ScoredArm(
            name, first.label, record.arm(name).baseline, family=(), planned=(first.fold,),
            cells={first.fold: results.read_cell(cell, record, split="val")},
        )
        for name in dict.fromkeys(names)
        for cell in RunFolder(first.run_folder).finished_cells(name)
        if (cell.number, cell.seed) == (first.fold, first.seed)
    ]  # fmt: skip
    return scored_arms.score_arms(unscored, num_draws=NUM_DRAWS, rng=np.random.default_rng(SEED))


def _validate(card: ModelCard, arm: ScoredArm, *, num_models: int) -> ModelCard:
    metric = card.metric
    value, patients = arm.mean(metric), len(arm.patients_of(metric))
    draws = _draws(arm, metric)
    return replace(
        card,
        validated=_estimate(value, draws, patients),
        validation_patients=patients,
        beats_chance=metric == "auc"
        and is_above(draws, value, CHANCE_AUC, patients=patients, models=num_models),
    )


def _compare(
    card: ModelCard, arm: ScoredArm, best: ScoredArm, baseline: str, *, num_models: int
) -> ModelCard:
    metric, patients = card.metric, card.validation_patients
    value = arm.mean(metric) - best.mean(metric)
    draws = _draws(arm, metric) - _draws(best, metric)
    beats = is_above(draws, value, 0.0, patients=patients, models=num_models)
    return replace(
        card,
        baseline=baseline,
        difference=_estimate(value, draws, patients),
        beats_baseline=beats and (card.beats_chance or metric != "auc"),
    )


def _baselines(record: RunRecord, label: str) -> list[str]:
    leaky = leakage.leaks(record)
    arms = [arm for arm in record.arms if arm.baseline and arm.label == label]
    return [arm.name for arm in arms if arm.name not in leaky]


def _choose_metric(arms: Sequence[ScoredArm], metrics: Sequence[str]) -> str:
    """AUC where it is defined, or else the first metric of the run that is."""
    bare = tuple(dict.fromkeys(name.partition(", ")[0] for name in metrics))
    return scored_arms.first_metric(arms, ("auc", *bare))


def _trained_on(model: ServedModel) -> ModelCard:
    target = "counts" if model.kind == "segmenter" else "target"
    _, table = predictions.read(model.predictions, ("patient", "split", "source", target))
    rows = table.filter(pc.and_(pc.equal(table["split"], "train"), table[target].is_valid()))
    sources = sorted(set(rows["source"].to_pylist()))
    return replace(
        NO_CARD,
        dataset=_name_sources(sources),
        synthetic=bool(sources) and set(sources) <= set(SYNTHETIC),
        patients=len(set(rows["patient"].to_pylist())),
        clips=len(rows),
    )


def _score_signs(arm: ScoredArm) -> tuple[tuple[bool, ...], tuple[float | None, ...]]:
    """By biomarker: whether it was trained, and its AUC."""
    (fold,) = arm.cells
    cell, scores = arm.cells[fold], arm.scores[fold]
    trained = tuple(cell.knows(k) for k in range(len(cell.classes)))
    by_label = scores.by_label if isinstance(scores, MultilabelScores) else None
    values = [by_label[name].values["auc"] if by_label else np.nan for name in cell.classes]
    return trained, tuple(float(v) if np.isfinite(v) else None for v in values)


def _draws(arm: ScoredArm, metric: str) -> Float[np.ndarray, "D"]:
    return arm.by_fold(metric).sample()


def _estimate(value: float, draws: Float[np.ndarray, "D"], patients: int) -> Estimate:
    interval = percentile_interval(draws, num_patients=patients)
    low, high = (float(x) if np.isfinite(x) else None for x in (interval.low, interval.high))
    return Estimate(float(value), low, high)


def _name_sources(sources: Sequence[str]) -> str:
    names = [f"{s} clips" if s in SYNTHETIC else s for s in sources]
    return " and ".join(names) or UNKNOWN


def _describe_card(card: ModelCard) -> str:
    kind = "synthetic, " if card.synthetic else ""
    text = f"Trained on {card.clips} clips of {card.patients} patients"
    text += f" ({card.dataset}; {kind}{card.size} size)"
    if card.validated is None:
        return f"{text}; not validated."
    name = name_metric(card.metric)
    text += f"; {name} {format_estimate(card.validated)} on {card.validation_patients} validation"
    text += " patients"
    if card.baseline is None or card.difference is None:
        return f"{text}, without a baseline to compare with."
    verb = "better than" if card.beats_baseline else "not better than"
    difference = format_estimate(card.difference, sign=True)
    return f"{text}, {verb} {card.baseline} ({difference} points)."
