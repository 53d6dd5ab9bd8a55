"""How estimates on validation patients read."""

from lus_ray.inference.schema import Estimate

METRIC_NAMES = {"auc": "AUC", "f1": "F1", "mean_iou": "mean IoU", "union_dice": "Dice"}


def name_metric(metric: str) -> str:
    return METRIC_NAMES.get(metric, metric.replace("_", " "))


def format_estimate(estimate: Estimate, *, sign: bool = False) -> str:
    """Points of 100 with the interval, such as "+1.2 [-4.0, 6.1]"."""
    text = f"{100 * estimate.value:{'+' if sign else ''}.1f}"
    if estimate.low is None or estimate.high is None:
        return text
    return f"{text} [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"
