"""Scores of an arm beyond its metrics: by biomarker and by class, confusion and reliability.

Shapes: K classes.
"""

import numpy as np
from jaxtyping import Float

from lus_ray.evaluation.results import CellResult
from lus_ray.evaluation.schema import BiomarkerScores, ClassScores
from lus_ray.evaluation.scored_arms import ScoredArm
from lus_ray.metrics import calibration, classification, multilabel


def score_biomarkers(arm: ScoredArm) -> dict[str, BiomarkerScores]:
    """Metrics of each yes/no label averaged over folds, with the number of annotated clips."""
    scored = [
        (scores.by_label, arm.cells[fold].target)
        for fold, scores in sorted(arm.scores.items())
        if isinstance(scores, multilabel.MultilabelScores) and scores.by_label
    ]
    biomarkers = {}
    for k, name in enumerate(scored[0][0] if scored else ()):
        biomarkers[name] = BiomarkerScores(
            num_judged=sum(int((target[:, k] >= 0).sum()) for _, target in scored),
            num_seen=sum(int((target[:, k] == 1).sum()) for _, target in scored),
            num_folds=_count_folds(arm, k),
            **{
                metric: multilabel.mean([by_label[name][metric] for by_label, _ in scored])
                for metric in multilabel.MEANS
            },
        )
    return biomarkers


def score_classes(arm: ScoredArm) -> dict[str, ClassScores]:
    """Precision, recall and F1 of each class, pooled over the folds that trained it."""
    cells = [cell for cell in arm.cells.values() if cell.classes and cell.counts is None]
    pooled = pool_confusion(arm) if cells else None
    if pooled is None:
        return {}
    scores = {}
    for k, name in enumerate(cells[0].classes):
        counts = pool_confusion(arm, trained=k)
        if counts is None or not counts[k].any():
            counts = np.zeros_like(pooled)
        columns = classification.scores_by_class(counts)
        scores[name] = ClassScores(
            num_true=float(pooled[k].sum()),
            precision=float(columns["precision"][k]),
            recall=float(columns["recall"][k]),
            f1=float(columns["f1"][k]),
            num_folds=_count_folds(arm, k),
        )
    return scores


def _count_folds(arm: ScoredArm, k: int) -> int | None:
    """How many folds score class `k`; None where every fold trained it."""
    trained = [cell for cell in arm.cells.values() if cell.knows(k)]
    return None if len(trained) == len(arm.cells) else sum(bool(c.tested[k]) for c in trained)


def pool_confusion(
    arm: ScoredArm, *, trained: int | None = None
) -> Float[np.ndarray, "K K"] | None:
    """Test examples, or pixels, by true and predicted class, summed over folds.

    With `trained`, over the folds that trained this class. With several seeds, a fold counts with
    the mean of its seeds. None for yes/no labels and where nothing was tested.
    """
    tables = []
    for cell in arm.cells.values():
        if trained is None or cell.knows(trained):
            known = [_confusion(own) for own in cell.by_seed.values()]
            if counted := [table for table in known if table is not None]:
                tables.append(np.mean(counted, axis=0))
    return np.stack(tables).sum(axis=0) if tables else None


def _confusion(cell: CellResult) -> Float[np.ndarray, "K K"] | None:
    if cell.counts is not None:
        return cell.counts.sum(axis=0).astype(np.float64)
    if not len(cell.clips) or cell.multilabel or classification.explain_unusable(cell.probability):
        return None
    predicted, num_classes = cell.probability.argmax(axis=1), cell.probability.shape[1]
    counts = classification.confusion(cell.target, predicted, num_classes=num_classes)
    return counts.astype(np.float64)


def pool_reliability(arm: ScoredArm) -> calibration.Reliability | None:
    """Confidence in the predicted class against correctness, pooled over folds and seeds.

    For yes/no labels it is the probability of yes over all annotated entries of trained labels.
    """
    cells = arm.every_cell
    if any(cell.scheme for cell in cells):
        by_cell = [cell.bins for cell in cells if cell.bins is not None]
        return calibration.reliability_curve(np.sum(by_cell, axis=0)) if by_cell else None
    confidence, correct = [], []
    for cell in cells:
        if classification.explain_unusable(cell.probability):
            continue
        if cell.multilabel:
            annotated = cell.annotated
            confidence.append(cell.probability[annotated])
            correct.append(cell.target[annotated] == 1)
        else:
            confidence.append(cell.probability.max(axis=1))
            correct.append(cell.probability.argmax(axis=1) == cell.target)
    if not confidence:
        return None
    bins = calibration.histogram(np.concatenate(confidence), np.concatenate(correct))
    return calibration.reliability_curve(bins)
