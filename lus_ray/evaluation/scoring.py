"""Scores of one finished cell, and its counts by patient for resampling.

Shapes: D draws, P patients, M test images, K classes.
Masks are also scored by domain. The metric of one domain carries its role in the name,
"dice_per_image, covid", and covers the images of that domain alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from lus_ray.evaluation.results import CellResult
from lus_ray.metrics import classification, frames, multilabel, patient_counts, segmentation
from lus_ray.metrics.classification import Scores
from lus_ray.metrics.patient_counts import PatientCounts


@dataclass(frozen=True)
class MaskCounts:
    scheme: str
    counts: Int[np.ndarray, "M K K"]
    clips: tuple[str, ...]
    patients: tuple[str, ...]
    trained: Bool[np.ndarray, "K"] | None = None


@dataclass(frozen=True)
class DomainCounts:
    patients: tuple[str, ...]
    whole: patient_counts.PixelCounts
    parts: dict[str, patient_counts.PixelCounts]

    def metrics(self, weights: Float[np.ndarray, "D P"]) -> dict[str, Float[np.ndarray, "D"]]:
        """Metrics by name and draw; a draw without a patient of a domain leaves its metrics NaN."""
        metrics = self.whole.metrics(weights)
        column = {name: number for number, name in enumerate(self.patients)}
        for role, part in self.parts.items():
            values = part.metrics(weights[:, [column[name] for name in part.patients]])
            metrics |= {for_role(metric, role): value for metric, value in values.items()}
        return metrics


def score_cell(cell: CellResult, roles: Sequence[str] = ()) -> Scores:
    """Every metric of the cell, for masks also by role; undefined metrics have a reason."""
    if (whole := select_masks(cell)) is not None:
        return _score_masks(whole, _masks_by_role(cell, roles))
    if not len(cell.clips):
        metrics = frames if cell.has_frames else multilabel if cell.multilabel else classification
        more = () if cell.frame_counts is None else frames.inherited_metrics(cell.classes)
        names = (*metrics.METRICS, *more)
        return classification.undefined_scores(names, "no test clip is annotated")
    if cell.members is not None:
        return frames.score(cell.target, cell.probability, cell.members, cell.trained)
    if cell.multilabel:
        return multilabel.score(cell.target, cell.probability, cell.classes, cell.trained)
    if cell.frame_counts is not None:
        return frames.score_inherited(
            cell.target, cell.probability, cell.frame_counts, cell.classes, cell.trained
        )
    return classification.score(cell.target, cell.probability, cell.trained, cell.classes)


def count_patients(cell: CellResult, roles: Sequence[str] = ()) -> PatientCounts | None:
    """Counts that give the same metrics under any weights of patients; None without scores."""
    if (whole := select_masks(cell)) is not None:
        if not whole.clips:
            return None
        counts = _count_pixels(whole)
        parts = {role: _count_pixels(part) for role, part in _masks_by_role(cell, roles).items()}
        return DomainCounts(counts.patients, counts, parts) if parts else counts
    if classification.explain_unusable(cell.probability):
        return None
    columns = (cell.patients, cell.target, cell.probability)
    if cell.members is not None:
        return patient_counts.count_frames(*columns, cell.members, cell.trained)
    if cell.multilabel:
        return patient_counts.count_labels(*columns, cell.classes, cell.trained)
    if cell.frame_counts is not None:
        return patient_counts.count_inherited(
            *columns, cell.frame_counts, cell.classes, cell.trained
        )
    return patient_counts.count_classes(*columns, cell.trained)


def select_masks(cell: CellResult, role: str | None = None) -> MaskCounts | None:
    """The images of one domain, or of all; None for a cell without masks."""
    if cell.counts is None or cell.scheme is None:
        return None
    if role is None:
        return MaskCounts(cell.scheme, cell.counts, cell.clips, cell.patients, cell.trained)
    kept = [number for number, domain in enumerate(cell.domains) if domain == role]
    clips, patients = (
        tuple(names[number] for number in kept) for names in (cell.clips, cell.patients)
    )
    return MaskCounts(cell.scheme, cell.counts[kept], clips, patients, cell.trained)


def for_role(metric: str, role: str) -> str:
    return f"{metric}, {role}"


def patients_of(cell: CellResult, metric: str) -> set[str]:
    _, _, role = metric.partition(", ")
    masks = select_masks(cell, role) if role else None
    return set(cell.patients if masks is None else masks.patients)


def _masks_by_role(cell: CellResult, roles: Sequence[str]) -> dict[str, MaskCounts]:
    selected = {role: select_masks(cell, role) for role in roles}
    return {role: masks for role, masks in selected.items() if masks is not None}


def _score_masks(whole: MaskCounts, by_role: Mapping[str, MaskCounts]) -> Scores:
    scores = segmentation.score(whole.counts, whole.scheme, whole.trained)
    values, undefined = dict(scores.values), dict(scores.undefined)
    for role, masks in by_role.items():
        part = segmentation.score(masks.counts, masks.scheme, masks.trained)
        values |= {for_role(metric, role): value for metric, value in part.values.items()}
        undefined |= {for_role(metric, role): why for metric, why in part.undefined.items()}
    return Scores(values, undefined)


def _count_pixels(masks: MaskCounts) -> patient_counts.PixelCounts:
    return patient_counts.count_pixels(masks.patients, masks.counts, masks.scheme, masks.trained)
