"""Which arms follow a published protocol that leaks, and how.

An arm leaks where it was trained on other clips of patients that it is tested on, where images or
clips and not patients were dealt to its folds, where its epoch was chosen by the test side, or
where it starts from, reads or joins an arm that leaks. Such an arm is marked wherever it is shown.
"""

from collections.abc import Mapping
from typing import Any

OVERLAP = "patients overlap"
IMAGES = "images dealt at random"
CLIPS = "clips dealt at random"
SELECTED = "selected on test"

KINDS = {
    OVERLAP: "trained on other clips of patients that are tested, as the paper did, or reading an "
    "arm that was; held against baselines of this kind only",
    IMAGES: "augmented images, not patients, were dealt to the folds, as the paper did, so that "
    "copies of a test image and frames of its patient were learned from; held against baselines of "
    "this kind only",
    CLIPS: "clips, not patients, were dealt to the folds, balanced in class, as the paper did, so "
    "that other clips of a patient who is tested were learned from; held against baselines of this "
    "kind only",
    SELECTED: "the epoch was chosen by the score of the test side, as the paper did",
}
"""Kinds of leak, as they are marked, and what they are."""

PEOPLE = {OVERLAP, IMAGES, CLIPS}
"""Kinds in which test patients were learned from; these arms are held against each other only."""


def leaks(experiment: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Arms that saw of the test side what they should not, by themselves or by an arm before."""
    found: dict[str, tuple[str, ...]] = {}
    for entry in experiment["arms"]:
        rows, recipe = entry.get("rows") or {}, entry.get("recipe") or {}
        kinds = [SELECTED] if recipe.get("select") == "test" else []
        kinds += [OVERLAP] if rows.get("overlap") else []
        kinds += [IMAGES] if rows.get("images") else []
        kinds += [CLIPS] if rows.get("clips") else []
        for name in (entry.get("start"), *_read(entry)):
            kinds += found.get(name, ())
        if kinds:
            found[entry["name"]] = tuple(dict.fromkeys(kinds))
    return found


def dealt_at_random(experiment: Mapping[str, Any]) -> set[str]:
    """Arms that are tested on images or clips of any patient, or read such an arm."""
    found: set[str] = set()
    for entry in experiment["arms"]:
        rows = entry.get("rows") or {}
        if rows.get("images") or rows.get("clips") or found.intersection(_read(entry)):
            found.add(entry["name"])
    return found


def _read(entry: Mapping[str, Any]) -> list[str]:
    """Arms whose predictions an arm reads, or joins as its members."""
    return [name for name in (entry.get("reads"), *(entry.get("members") or ())) if name]
