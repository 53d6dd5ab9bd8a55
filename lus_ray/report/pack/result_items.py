"""Answers to items 20 to 27: participants, models, performance, limitations, use."""

from collections.abc import Callable, Mapping

from lus_ray.data.labels import label_name, label_title
from lus_ray.report import conclusions, formatting, metric_names
from lus_ray.report.pack import limits, score_sentences
from lus_ray.report.pack.checklist import Answer, filled, partly
from lus_ray.report.pack.facts import RunFacts
from lus_ray.report.pack.participants import TITLES, Characteristic
from lus_ray.report.pack.wording import SPLITS, count, describe_split, join, score, sentence


def _flow(facts: RunFacts) -> Answer:
    data, found = facts.record.data, []
    for source in facts.sources:
        files = f"{source.num_files:,} files, " if source.num_files else ""
        skipped = (source.actions or {}).get("skipped")
        lost = "" if skipped is None else f"{skipped:,} files or rows skipped, "
        found.append(
            f"{source.name}: {files}{lost}{count(source.num_clips, 'clip')} of "
            f"{count(source.num_patients, 'patient')} stored."
        )
    found.append(
        f"In the study: {count(data.clips, 'clip')} of {count(data.patients, 'patient')} in "
        f"{count(data.groups, 'group')}."
    )
    first = [own for own in facts.contents.splits if own.fold == facts.contents.splits[0].fold]
    found += [describe_split(own) for own in first]
    found += [
        f"“{own.name}”: {count(own.num_clips, 'clip')} compared with those of the run, "
        f"{count(own.num_left_out, 'patient')} left out, "
        f"{count(own.data.get('clips'), 'clip')} kept."
        for own in facts.evaluations
    ]
    is_complete = not facts.has_patients and not facts.contents.missing and not _uncounted(facts)
    return filled(*found) if is_complete else partly(*found)


def _characteristics(facts: RunFacts) -> Answer:
    people = facts.participants
    if people is None:
        return Answer()
    return partly(*(_characteristic(name, own) for name, own in people.everybody.items()))


def _comparison(facts: RunFacts) -> Answer:
    people = facts.participants
    if people is None:
        return Answer()
    found = []
    for split, own in people.splits.items():
        known = [f"{TITLES[name].lower()}: {c.text}" for name, c in own.items() if c.known]
        found.append(f"Fold {people.fold}, {SPLITS[split]}: {'; '.join(known) or 'nobody'}.")
    found += [
        f"“{own.name}”: {count(own.data.get('clips'), 'clip')} of "
        f"{count(own.data.get('patients'), 'patient')} from {own.sources}."
        for own in facts.evaluations
    ]
    return partly(*found)


def _numbers(facts: RunFacts) -> Answer:
    found = [describe_split(own) for own in facts.contents.splits]
    if uncounted := _uncounted(facts):
        missing = f"Give the numbers of clips by {join(map(label_name, uncounted))}."
        return partly(*found, missing=missing)
    return partly(*found) if facts.contents.missing else filled(*found)


def _uncounted(facts: RunFacts) -> list[str]:
    """Labels whose classes the splits do not count: several at a time, or no finished cell."""
    counted = {label for own in facts.contents.splits for label in own.classes}
    return [label for label in facts.labels if label not in counted]


def _specification(facts: RunFacts) -> Answer:
    found = [
        f"“{model.name}”: {model.network or model.method}"
        f"{f', {model.num_parameters:,} parameters' if model.num_parameters else ''}."
        for model in facts.models
        if not model.is_baseline
    ]
    return partly(
        *dict.fromkeys(found),
        "Weights (safetensors, or skops for classifiers) and the description of every model are in "
        "cells/<arm>/fold<k>/checkpoint of the run.",
        "`lus predict` computes predictions of these models for new clips; `lus serve` offers them "
        "over HTTP.",
    )


def _performance(facts: RunFacts) -> Answer:
    found = [
        f"{label_title(model.label)}, “{model.name}”"
        f"{' (baseline)' if model.is_baseline else ''}"
        f"{f' ({model.leak})' if model.leak else ''}: {score(model)}."
        for model in facts.models
        if model.value is not None
    ]
    best = {arm.name for arm in facts.groups}
    for own in facts.evaluations:
        found += [*score_sentences.describe_scores(own), *score_sentences.describe_sets(own, best)]
    found += score_sentences.describe_groups(facts, score_sentences.PEOPLE)
    if not found:
        return Answer()
    note = "95 % intervals are in brackets; all metrics and plots are in report.html."
    if (
        score_sentences.has_compared(facts.groups, score_sentences.DEMOGRAPHIC)
        and not facts.contents.missing
    ):
        return filled(note, *found)
    return partly(note, *found)


def _heterogeneity(facts: RunFacts) -> Answer:
    found = []
    for result in facts.contents.domains or ():
        names = {model.name for model in facts.models}
        main = [arm for arm in result.arms if arm.name in names]
        metric = next(iter(result.metrics), "")
        texts = [
            f"“{arm.name}” {formatting.spread(own.mean, own.std)}"
            for arm in main
            if (own := arm.over_patients.get(metric))
        ]
        name = metric_names.name(metric, result.label)
        found.append(f"Domain {result.domain}, {name}, percent: {'; '.join(texts)}.")
    found += score_sentences.describe_groups(facts, score_sentences.CLUSTERS)
    if score_sentences.has_compared(facts.groups, ["site"]):
        return filled(*found)
    return partly(*found) if found else Answer()


def _updated(facts: RunFacts) -> Answer:
    best = {arm.name for arm in facts.groups}
    scaled = [
        text for own in facts.evaluations for text in score_sentences.describe_updates(own, best)
    ]
    return filled("No weights of this run were changed after an evaluation.", *scaled)


def _interpretation(facts: RunFacts) -> Answer:
    found = conclusions.conclude(facts.contents)
    claims = [sentence(f"{claim.verdict}: {claim.text}") for claim in facts.contents.claims]
    return partly(found.finding, *claims)


def _limitations(facts: RunFacts) -> Answer:
    return partly(*limits.limitations(facts))


def _poor_input(facts: RunFacts) -> Answer:
    return partly(
        "Files that do not decode, or decode in part, are refused with a reason.",
        "The service adds a hint where a clip does not look like ultrasound; it stops nothing.",
        "The models need no other input than the clip.",
    )


def _users(facts: RunFacts) -> Answer:
    return partly(
        "A user gives a video, an image or a DICOM file; nothing is drawn, cropped or entered by "
        "hand.",
        limits.RESEARCH_ONLY,
    )


def _characteristic(name: str, own: Characteristic) -> str:
    return f"{TITLES[name]} ({own.unit}): {own.text}."


FILLERS: Mapping[str, Callable[[RunFacts], Answer]] = {
    "20a": _flow, "20b": _characteristics, "20c": _comparison, "21": _numbers,
    "22": _specification, "23a": _performance, "23b": _heterogeneity, "24": _updated,
    "25": _interpretation, "26": _limitations, "27a": _poor_input, "27b": _users,
}  # fmt: skip
