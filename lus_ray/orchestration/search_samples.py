"""`--samples`: which arms of a study are searched; why others are not."""

from collections.abc import Mapping
from dataclasses import replace

from lus_ray.errors import InputError
from lus_ray.experiment import Arm, Experiment
from lus_ray.runs import leakage, trainable

MAX_NAMES = 3
"""Arms that a note names for each reason."""


def with_samples(experiment: Experiment, samples: int) -> Experiment:
    """The experiment with that many samples of every arm that can be searched.

    Raises:
        InputError: no arm can be searched.
    """
    reasons = explain_unsearched(experiment)
    if len(reasons) == len(experiment.arms):
        raise InputError(
            f"--samples: {experiment.name} has nothing to search here: {_list_names(reasons)}; "
            "leave it out, or choose other --arms"
        )
    arms = (
        replace(arm, search=replace(arm.search, samples=samples))
        if arm.search is not None and arm.name not in reasons
        else arm
        for arm in experiment.arms
    )
    return experiment.with_arms(tuple(arms))


def explain_unsearched(experiment: Experiment) -> dict[str, str]:
    """Why an arm is not searched, by its name; without the arms that can be."""
    leaky = leakage.leaks(experiment)
    reasons = {arm.name: _explain(arm, arm.name in leaky) for arm in experiment.arms}
    return {name: reason for name, reason in reasons.items() if reason}


def describe(experiment: Experiment) -> str:
    """One line on the arms that are searched and on those that are not; empty without a search."""
    searched = [arm for arm in experiment.arms if arm.is_searched]
    if not searched:
        return ""
    counts = sorted({arm.search.samples for arm in searched if arm.search is not None})
    arms = f"{len(searched)} of {len(experiment.arms)} arms"
    text = f"{', '.join(map(str, counts))} samples of the hyperparameters of {arms}"
    reasons = explain_unsearched(experiment)
    return text + (f"; not searched: {_list_names(reasons)}" if reasons else "")


def _explain(arm: Arm, is_leaky: bool) -> str:
    if not trainable.is_trained(arm) or (arm.recipe is not None and not arm.recipe.epochs):
        return "trains nothing"
    if arm.baseline:
        return "a baseline"
    if is_leaky:
        return "leaks, as published"
    return "" if arm.search is not None and arm.search.space else "has no search space"


def _list_names(reasons: Mapping[str, str]) -> str:
    by_reason: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        by_reason.setdefault(reason, []).append(name)
    parts = []
    for reason, names in by_reason.items():
        more = f"; {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
        parts.append(f"{reason} ({'; '.join(names[:MAX_NAMES])}{more})")
    return ", ".join(parts)
