"""An answer as lines for a terminal: the likeliest of everything, and how likely it is."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

TICKED = 0.5
"""Probability from which a biomarker counts as there."""


def text(answer: Mapping[str, Any]) -> str:
    """The answer of `lus predict`, for people."""
    return "\n".join([*_clip(answer), *_signs(answer), *_scores(answer), answer["notice"]])


def _clip(answer: Mapping[str, Any]) -> Iterator[str]:
    clip, likely = answer["clip"], answer["lung_ultrasound"]
    yield f"{clip['format']}: {clip['num_frames']} frames of {clip['height']} x {clip['width']}"
    if not likely["likely"]:
        yield f"does not look like lung ultrasound: {'; '.join(likely['reasons'])}"
    yield from (f"note: {note}" for note in clip["notes"])


def _signs(answer: Mapping[str, Any]) -> Iterator[str]:
    signs = answer["biomarkers"]
    if signs is not None:
        ticked = [
            f"{name} {share:.2f}"
            for name, share in zip(signs["names"], signs["probability"], strict=True)
            if share >= TICKED
        ]
        yield f"biomarkers: {', '.join(ticked) or 'none'}"
    for group in answer["experts"]:
        yield f"{group['title']}:"
        for said in group["answers"]:
            yield f"  {_best(group['classes'], said['probability'])}  {said['name']}"


def _scores(answer: Mapping[str, Any]) -> Iterator[str]:
    frames, masks = answer["frames"], answer["masks"]
    if frames is not None:
        yield f"frame scores: {''.join(map(str, frames['score']))}"
    for said in answer["clip_scores"]:
        yield f"clip score {_best(said['classes'], said['probability'])}  {said['name']}"
    if masks is not None:
        shares = zip(masks["classes"], masks["share"], strict=True)
        yield "pixels: " + ", ".join(f"{name} {share:.1%}" for name, share in shares)


def _best(classes: Sequence[str], probability: Sequence[float]) -> str:
    best = max(range(len(classes)), key=lambda k: probability[k])
    return f"{classes[best]} ({probability[best]:.2f})"
