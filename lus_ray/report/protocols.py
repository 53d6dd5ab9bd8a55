"""Which arms follow a published protocol that leaks, and how.

An arm leaks where it was trained on other clips of patients that it is tested on, where its epoch
was chosen by the test side, or where it starts from or reads an arm that leaks. Such an arm is
marked wherever it is shown.
"""

from collections.abc import Mapping
from typing import Any

OVERLAP = "patients overlap"
SELECTED = "selected on test"

KINDS = {
    OVERLAP: "trained on other clips of patients that are tested, as the paper did, or reading an "
    "arm that was; held against baselines of this kind only",
    SELECTED: "the epoch was chosen by the score of the test side, as the paper did",
}
"""Kinds of leak, as they are marked, and what they are."""


def leaks(experiment: Mapping[str, Any]) -> dict[str, str]:
    """Arms that saw of the test side what they should not, by themselves or by an arm before."""
    found: dict[str, str] = {}
    for entry in experiment["arms"]:
        before = [found[name] for name in (entry.get("start"), entry.get("reads")) if name in found]
        if (entry.get("rows") or {}).get("overlap"):
            before.insert(0, OVERLAP)
        if (entry.get("recipe") or {}).get("select") == "test":
            before.insert(0, SELECTED)
        if before:
            found[entry["name"]] = before[0]
    return found
