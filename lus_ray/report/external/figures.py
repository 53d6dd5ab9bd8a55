"""Figures of an external test: reliability before and after scaling, and decision curves."""

from collections.abc import Sequence

import numpy as np

from lus_ray import figures
from lus_ray.evaluation.external.schema import ArmCalibration, CalibrationScores, DecisionCurve
from lus_ray.metrics.calibration import Reliability
from lus_ray.report.blocks import Pictures
from lus_ray.report.galleries import Picture

ALL_CLIPS = ("acting on all clips", ("#888888", ""))


def draw_reliability(arms: Sequence[ArmCalibration]) -> Pictures | None:
    """External clips before and after temperature scaling; None without predictions."""
    sides = [arm.external for arm in arms if arm.external is not None]
    if not sides:
        return None
    panels: dict[str, list[CalibrationScores | None]] = {
        "before scaling": [own.before for own in sides]
    }
    if any(own.after for own in sides):
        panels["after scaling"] = [own.after for own in sides]
    items = tuple(
        Picture(
            figures.draw_reliability([_curve(own) for own in scores], title=f"external, {title}"),
            f"Reliability on external clips, {title}: share of correct predictions by confidence",
        )
        for title, scores in panels.items()
    )
    key = tuple(zip([arm.name for arm in arms], figures.LINES, strict=False))
    return Pictures("", items, key=key)


def draw_decisions(label: str, curves: Sequence[DecisionCurve]) -> Pictures:
    """One panel per question, with the main arms of a label."""
    items = tuple(
        Picture(
            figures.draw_net_benefit(
                np.array(curve.thresholds),
                [np.array([arm.value, arm.low, arm.high], np.float64) for arm in curve.arms],
                np.array(curve.treat_all, np.float64),
                title=curve.question,
            ),
            f"Net benefit by threshold, {curve.question}, {curve.num_clips} external clips",
        )
        for curve in curves
    )
    names = [arm.name for arm in curves[0].arms]
    key = (*zip(names, figures.LINES, strict=False), ALL_CLIPS)
    return Pictures("", items, width_rem=18, key=key)


def _curve(scores: CalibrationScores | None) -> Reliability | None:
    if scores is None:
        return None
    confidence, correct, number = np.array(scores.curve, np.float64).T
    return Reliability(confidence, correct, number.astype(np.int64))
