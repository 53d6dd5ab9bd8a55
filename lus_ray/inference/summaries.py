"""What a response may claim: findings, experts in the summary, and the warning above all.

A model counts only if it was shown to be good for something: experts beat the baseline, and the
network of the biomarkers beats chance, both on validation patients.
"""

from collections.abc import Sequence

from lus_ray.clip import ABSENCES, BIOMARKERS
from lus_ray.data.labels import label_name, label_title
from lus_ray.experiment import TRIAL_SIZES
from lus_ray.inference.estimates import format_estimate, name_metric
from lus_ray.inference.schema import (
    BiomarkerGroup,
    BiomarkerPrediction,
    ExpertGroup,
    ExpertPrediction,
    ModelCard,
)
from lus_ray.inference.served_model import ServedModel
from lus_ray.inference.voting import mean_probability, vote
from lus_ray.metrics.bootstrap import MIN_PATIENTS
from lus_ray.predictor import Prediction

PRESENT = 0.5
"""Probability from which a biomarker counts as present."""


def add_prediction(
    groups: list[ExpertGroup], model: ServedModel, classes: Sequence[str], method: str,
    prediction: Prediction,
) -> None:  # fmt: skip
    """Put a prediction of a label into the group of its classes, and summarise the group anew.

    `method` names the kind of model.
    """
    card = model.card
    beats = card is not None and bool(card.beats_baseline)
    answer = ExpertPrediction(
        model=model.id,
        name=model.arm,
        kind=method,
        probability=prediction["probability"].tolist(),
        in_summary=beats,
        reason="" if beats else _reason_against(card),
    )
    baseline = card.baseline if card and card.baseline else ""
    groups[:] = merge_groups(groups, [_summarise(model.label, list(classes), [answer], baseline)])


def merge_groups(groups: Sequence[ExpertGroup], others: Sequence[ExpertGroup]) -> list[ExpertGroup]:
    """All groups; those with the same label and classes are joined and summarised anew."""
    merged = {(group.label, *group.classes): group for group in groups}
    for other in others:
        key = (other.label, *other.classes)
        if (group := merged.get(key)) is not None:
            answers, baseline = group.answers + other.answers, group.baseline or other.baseline
            merged[key] = _summarise(other.label, other.classes, answers, baseline)
        else:
            merged[key] = other
    return list(merged.values())


def describe_biomarkers(
    model: ServedModel, groups: list[BiomarkerGroup], probability: list[float]
) -> BiomarkerPrediction:
    """Probabilities and findings; without a report, or below chance, there are no findings."""
    report = model.report
    trained = list(report.trained) if report and report.trained else [True] * len(BIOMARKERS)
    unknown: tuple[float | None, ...] = (None,) * len(BIOMARKERS)
    score = list(report.score if report and report.score else unknown)
    beats_chance = report is not None and report.card.beats_chance
    return BiomarkerPrediction(
        model=model.id,
        names=list(BIOMARKERS),
        groups=groups,
        probability=probability,
        trained=trained,
        score=score,
        findings=find_signs(model, probability),
        reason="" if beats_chance else _reason_below_chance(model.card),
    )


def find_signs(model: ServedModel, probability: Sequence[float]) -> list[int]:
    """Trained biomarkers that are probably there, the most probable first, absences last."""
    report = model.report
    if report is None or not report.card.beats_chance:
        return []
    found = [k for k, p in enumerate(probability) if report.trained[k] and p >= PRESENT]
    return sorted(found, key=lambda k: (BIOMARKERS[k] in ABSENCES, -probability[k]))


def best_expert(models: Sequence[ServedModel]) -> ServedModel | None:
    """The summarised expert with the best validation score."""
    scores = {
        model: model.card.validated.value
        for model in models
        if model.card and model.card.beats_baseline and model.card.validated
    }
    return max(scores, key=lambda model: scores[model], default=None)


def write_banner(models: Sequence[ServedModel]) -> str | None:
    """The warning where a model is of a trial size or saw synthetic clips only."""
    cards = [model.card for model in models if model.card]
    synthetic = [card for card in cards if card.synthetic]
    small = [card for card in cards if card.size in TRIAL_SIZES]
    if not (named := synthetic or small):
        return None
    sizes = " and ".join(sorted({card.size for card in small}))
    size = f" ({sizes} size)" if small else ""
    some = "These" if len(named) == len(cards) else f"{len(named)} of {len(cards)}"
    if synthetic:
        return (
            f"{some} models saw synthetic clips only{size}. "
            "Their answers about a real patient mean nothing."
        )
    return f"{some} models were trained only to try the software{size}. Do not rely on them."


def _summarise(
    label: str, classes: list[str], predictions: list[ExpertPrediction], baseline: str
) -> ExpertGroup:
    """The group of a label, with a sentence about the models that beat the baseline."""
    counted = [prediction for prediction in predictions if prediction.in_summary]
    if not counted:
        summary = f"No model of {label_name(label)} clearly beat the baseline on validation; "
        summary += "nothing is summarised."
    else:
        best, num = vote(counted)
        share = f"all {num}" if num == len(counted) else f"{num} of the {len(counted)}"
        who = f"{share} models that beat the baseline say so"
        if len(counted) == 1:
            who = "the one model that beat the baseline says so"
        mean = f"mean probability {mean_probability(counted, best):.2f}"
        summary = f"{label_title(label)} {classes[best]}: {who} ({mean})."
    return ExpertGroup(label, label_title(label), classes, predictions, summary, baseline)


def _reason_against(card: ModelCard | None) -> str:
    if card is None or card.validated is None:
        return "it could not be validated"
    if card.baseline is None or card.difference is None:
        return "no baseline was validated beside it"
    difference = format_estimate(card.difference, sign=True)
    reason = (
        f"it did not beat {card.baseline}: {name_metric(card.metric)} {difference} "
        f"on {_count_patients(card)}"
    )
    low = card.difference.low
    if low is not None and low > 0:
        if card.validation_patients < MIN_PATIENTS:
            return f"{reason}, fewer than {MIN_PATIENTS}"
        return f"{reason}, which is too little for one of several models"
    return reason


def _reason_below_chance(card: ModelCard | None) -> str:
    if card is None or card.validated is None:
        return "the network could not be validated"
    return (
        f"the network did not beat chance: {name_metric(card.metric)} "
        f"{format_estimate(card.validated)} on {_count_patients(card)}"
    )


def _count_patients(card: ModelCard) -> str:
    plural = "" if card.validation_patients == 1 else "s"
    return f"{card.validation_patients} validation patient{plural}"
