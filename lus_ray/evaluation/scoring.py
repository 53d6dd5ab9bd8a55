"""One finished cell as scores and as a tally; masks also by the domain they come from.

Letters: D draws, P patients, M test images, K classes.
A metric of one domain is named with its role behind it, "dice_per_image, covid", and is that
metric over the images of this domain alone, in the scores as in every draw of patients.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from lus_ray.evaluation.results import Cell
from lus_ray.metrics import (
    classification,
    frames,
    inherited,
    multilabel,
    patient_counts,
    segmentation,
)
from lus_ray.metrics.classification import Scores
from lus_ray.metrics.patient_counts import PatientCounts


@dataclass(frozen=True)
class Masks:
    """Test images of one cell: their pixels by true and predicted class, and whose they are."""

    scheme: str
    counts: Int[np.ndarray, "M K K"]
    clips: tuple[str, ...]
    patients: tuple[str, ...]


@dataclass(frozen=True)
class DomainTally:
    """Masks of all domains together, and those of each role among them."""

    whole: patient_counts.PixelCounts
    parts: dict[str, patient_counts.PixelCounts]

    @property
    def patients(self) -> tuple[str, ...]:
        """Names of the patients of all domains."""
        return self.whole.patients

    def metrics(self, weights: Float[np.ndarray, "D P"]) -> dict[str, Float[np.ndarray, "D"]]:
        """Metrics by name and draw; a draw without a patient of a domain leaves its metrics NaN."""
        found = self.whole.metrics(weights)
        column = {name: number for number, name in enumerate(self.patients)}
        for role, part in self.parts.items():
            own = part.metrics(weights[:, [column[name] for name in part.patients]])
            found |= {named(metric, role): values for metric, values in own.items()}
        return found


def score(cell: Cell, roles: Sequence[str] = ()) -> Scores:
    """Every metric of the cell, for masks also by role; what is undefined has a reason."""
    if (whole := masks(cell)) is not None:
        parts = {role: masks(cell, role) for role in roles}
        return _score_masks(whole, {role: own for role, own in parts.items() if own is not None})
    if not len(cell.clips):
        room = frames if cell.by_frame else multilabel if cell.multilabel else classification
        more = () if cell.said is None else inherited.inherited_metrics(cell.classes)
        return classification.undefined_scores((*room.METRICS, *more), "no test clip is annotated")
    if cell.members is not None:
        return frames.score(cell.target, cell.probability, cell.members)
    if cell.multilabel:
        return multilabel.score(cell.target, cell.probability, cell.classes)
    if cell.said is not None:
        return inherited.score_inherited(cell.target, cell.probability, cell.said, cell.classes)
    return classification.score(cell.target, cell.probability)


def counted(cell: Cell, roles: Sequence[str] = ()) -> PatientCounts | None:
    """What the same metrics need under any weights of patients; None where nothing is scored."""
    if (whole := masks(cell)) is not None:
        if not whole.clips:
            return None
        parts = {role: masks(cell, role) for role in roles}
        by_role = {role: _tally(own) for role, own in parts.items() if own is not None}
        return DomainTally(_tally(whole), by_role) if by_role else _tally(whole)
    if classification.explain_unusable(cell.probability):
        return None
    if cell.members is not None:
        return patient_counts.count_frames(
            cell.patients, cell.target, cell.probability, cell.members
        )
    if cell.multilabel:
        return patient_counts.count_labels(
            cell.patients, cell.target, cell.probability, cell.classes
        )
    if cell.said is not None:
        known = (cell.patients, cell.target, cell.probability, cell.said)
        return patient_counts.count_inherited(*known, cell.classes)
    return patient_counts.count_classes(cell.patients, cell.target, cell.probability)


def masks(cell: Cell, role: str | None = None) -> Masks | None:
    """The images of one domain, or of all; None for a cell that outlines no masks."""
    if cell.counts is None or cell.scheme is None:
        return None
    if role is None:
        return Masks(cell.scheme, cell.counts, cell.clips, cell.patients)
    kept = [number for number, domain in enumerate(cell.domains) if domain == role]
    clips, patients = (
        tuple(names[number] for number in kept) for names in (cell.clips, cell.patients)
    )
    return Masks(cell.scheme, cell.counts[kept], clips, patients)


def named(metric: str, role: str) -> str:
    """The name of a metric on the domain of one role."""
    return f"{metric}, {role}"


def patients(cell: Cell, metric: str) -> set[str]:
    """Test patients of the cell that a metric is about: all, or those of its domain."""
    _, _, role = metric.partition(", ")
    own = masks(cell, role) if role else None
    return set(cell.patients if own is None else own.patients)


def _score_masks(whole: Masks, parts: Mapping[str, Masks]) -> Scores:
    scores = segmentation.score(whole.counts, whole.scheme)
    values, undefined = dict(scores.values), dict(scores.undefined)
    for role, part in parts.items():
        own = segmentation.score(part.counts, part.scheme)
        values |= {named(metric, role): value for metric, value in own.values.items()}
        undefined |= {named(metric, role): why for metric, why in own.undefined.items()}
    return Scores(values, undefined)


def _tally(masks: Masks) -> patient_counts.PixelCounts:
    return patient_counts.count_pixels(masks.patients, masks.counts, masks.scheme)
