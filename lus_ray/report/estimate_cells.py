"""Cells with a value and its interval over patients."""

from lus_ray.evaluation.external.schema import Estimate
from lus_ray.report import formatting
from lus_ray.report.blocks import Cell


def estimate_cell(estimate: Estimate, *, sign: str = "") -> Cell:
    """`84.2 [80.1, 88.3]` in percent, or why there is no value."""
    if estimate.value is None:
        return Cell("undefined", tone="absent")
    low, high = estimate.interval
    numbers = {
        "": formatting.percent(estimate.value),
        "low": formatting.percent(low),
        "high": formatting.percent(high),
    }
    limits = formatting.limits(estimate.interval, sign=sign)
    return Cell(f"{100 * estimate.value:{sign}.1f} {limits}".strip(), numbers=numbers)


def plain_cell(estimate: Estimate, digits: int = 2) -> Cell:
    """`1.24 [1.14, 1.36]`, a number that is not a share."""
    if estimate.value is None:
        return Cell("undefined", tone="absent")
    low, high = estimate.interval
    limits = "" if low is None or high is None else f"[{low:.{digits}f}, {high:.{digits}f}]"
    numbers = {"": estimate.value, "low": low, "high": high}
    return Cell(f"{estimate.value:.{digits}f} {limits}".strip(), numbers=numbers)
