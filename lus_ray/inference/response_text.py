"""A response as lines for a terminal: the warning first, then what may be claimed, then the rest.

A model that is not in the summary stands below it with its reason, models of one kind together.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby

from lus_ray.inference.estimates import format_estimate
from lus_ray.inference.schema import (
    BiomarkerPrediction,
    ClipResponse,
    ExpertGroup,
    ExpertPrediction,
    ModelInfo,
)

Models = dict[str, ModelInfo]
"""By id."""


def format_response(response: ClipResponse) -> str:
    """All predictions but those of single pixels, and the cards of the models behind them."""
    return "\n".join(_lines(response))


def _lines(response: ClipResponse) -> Iterator[str]:
    clip, check = response.clip, response.lung_ultrasound
    models = {model.id: model for model in response.models}
    if response.banner is not None:
        yield f"WARNING: {response.banner}"
    yield f"{clip.format}: {clip.num_frames} frames of {clip.height} x {clip.width}"
    if not check.likely:
        yield f"does not look like lung ultrasound: {'; '.join(check.reasons)}"
    yield from (f"note: {note}" for note in clip.notes)
    if response.biomarkers is not None:
        yield from _lines_of_signs(response.biomarkers)
    for group in response.experts:
        yield from _lines_of_group(group, models)
    if response.frames is not None:
        yield f"frame scores: {''.join(map(str, response.frames.score))}"
    for score in response.clip_scores:
        yield f"clip score {_most_probable(score.classes, score.probability)}  {score.name}"
    if response.masks is not None:
        shares = zip(response.masks.classes, response.masks.share, strict=True)
        yield "pixels: " + ", ".join(f"{name} {share:.1%}" for name, share in shares)
    yield from _lines_of_models(response, models)
    yield response.notice


def _lines_of_signs(signs: BiomarkerPrediction) -> Iterator[str]:
    found = [f"{signs.names[k]} ({signs.probability[k]:.2f})" for k in signs.findings]
    yield "lung signs (probability): " + (", ".join(found) or signs.reason or "none found")
    if untrained := len(signs.trained) - sum(signs.trained):
        yield f"  {untrained} of {len(signs.names)} signs were not trained and are never reported"


def _lines_of_group(group: ExpertGroup, models: Models) -> Iterator[str]:
    yield group.summary
    for in_summary, answers in groupby(
        sorted(group.answers, key=lambda answer: (not answer.in_summary, answer.kind)),
        key=lambda answer: answer.in_summary,
    ):
        if not in_summary:
            yield f"  not in the summary{_why(group)}:"
        for kind, same in groupby(answers, key=lambda answer: answer.kind):
            parts = (_describe(answer, group, models) for answer in same)
            yield f"  {'  ' * (not in_summary)}{kind}: {'; '.join(parts)}"


def _why(group: ExpertGroup) -> str:
    if not group.baseline:
        return ""
    return f" (points of difference to {group.baseline}, on validation)"


def _describe(answer: ExpertPrediction, group: ExpertGroup, models: Models) -> str:
    """Class, probability, inputs; outside of the summary, by how much it misses the baseline."""
    model = models[answer.model]
    inputs = model.title.partition(answer.kind)[2].strip()
    text = f"{_most_probable(group.classes, answer.probability)} {inputs}".strip()
    if answer.in_summary:
        return text
    if model.card is None or model.card.difference is None:
        return f"{text}, {answer.reason}"
    return f"{text}, {format_estimate(model.card.difference, sign=True)}"


def _lines_of_models(response: ClipResponse, models: Models) -> Iterator[str]:
    """The cards of all models but the experts outside of the summary, whose reason says enough."""
    experts = [answer for group in response.experts for answer in group.answers]
    silent = {answer.model for answer in experts if not answer.in_summary}
    shown = [model for model in models.values() if model.id not in silent and model.card]
    if shown:
        yield "models:"
    for model in shown:
        yield f"  {model.title}. {model.card.summary if model.card else ''}"


def _most_probable(classes: Sequence[str], probability: Sequence[float]) -> str:
    best = max(range(len(classes)), key=lambda k: probability[k])
    return f"{classes[best]} ({probability[best]:.2f})"
