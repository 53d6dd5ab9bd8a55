"""Answers to items 12 to 19: analysis, balance, fairness, output, ethics, open science."""

from collections.abc import Callable, Mapping
from typing import Any

from lus_ray.data.labels import label_title
from lus_ray.evaluation import mask_arms
from lus_ray.report import formatting, metric_names
from lus_ray.report.pack import models, score_sentences
from lus_ray.report.pack.checklist import Answer, filled, partly
from lus_ray.report.pack.facts import RunFacts
from lus_ray.report.pack.participants import TITLES
from lus_ray.report.pack.privacy import portable_command
from lus_ray.report.pack.wording import count, join, quote, sentence, simulated

LICENCE = "Apache-2.0"
PROTOCOLS = {
    "fixed_test": "One part of the patients always tests; in each fold another part validates and "
    "the rest trains.",
    "rotating": "Every part of the patients tests once, the next part validates, the rest trains.",
    "k_fold": "Every part of the patients tests once; of the others, some validate.",
    "across_domains": "Patients of each domain are split into the same folds.",
    "stratified_group_k_fold": "Every part of the patients tests once; of the others, some "
    "validate. The parts have about equal shares of every class.",
    "one_split": "The patients are split once into training, validation and test.",
    "official": "The folds come from a file that was given.",
}
MASKS = "class of every pixel, the one with the highest output"


def _split(facts: RunFacts) -> Answer:
    folds = facts.contents.folds
    name = str(folds.get("name") or "")
    sizes = [
        f"Fold {own['fold']}: {own['num_train']} patients train, {own['num_val']} validate, "
        f"{own['num_test']} test."
        for own in folds["sizes"]
    ]
    stratify = folds.get("stratify")
    stratify = stratify if stratify in facts.labels else None  # else clips may lack it
    leaky = [arm.name for arm in facts.contents.arms if arm.leak]
    found = (
        PROTOCOLS.get(name, f"Protocol of the folds: {name or 'not recorded'}."),
        f"The folds are balanced by {str(stratify).replace('_', ' ')}." if stratify else "",
        "Patients are split, not clips; patients that share copies of a clip stay together.",
        *sizes,
        f"Not so for {count(len(leaky), 'arm')} that repeat a published protocol with a leak: "
        f"{quote(leaky[:4])}{' and others' if len(leaky) > 4 else ''}." if leaky else "",
    )  # fmt: skip
    if name == "official" or name not in PROTOCOLS:
        return partly(*found)
    return filled(*found, "No required number of patients guided the split.")


def _handling(facts: RunFacts) -> Answer:
    inputs = sorted({model.inputs for model in facts.models if model.inputs})
    augmented = [arm.name for arm in facts.main_arms if (arm.recipe or {}).get("augment")]
    if not inputs:
        return Answer()
    return filled(
        *map(sentence, inputs),
        "Grey values from 0 to 255 are scaled to 0 to 1; a network may standardise them further.",
        f"Training images are varied at random (flip, rotation, brightness and the like) for "
        f"{quote(augmented)}." if augmented else "Training images are not varied at random.",
    )  # fmt: skip


def _building(facts: RunFacts) -> Answer:
    found = []
    for model in facts.models:
        method = "" if model.method == model.name else model.method
        parts = filter(None, (method, model.network, model.training))
        found.append(f"“{model.name}”: {'; '.join(parts) or 'no network'}.")
    searches = [text for arm in facts.record.arms if (text := models.describe_search(arm))]
    return partly(
        *dict.fromkeys(found),
        f"Hyperparameters were searched on the validation patients: {'; '.join(searches)}."
        if searches else "No hyperparameter was searched in this run.",
        "Internal validation: scores are of the test patients of each fold.",
        "experiment.json holds the settings of every arm.",
    )  # fmt: skip


def _clusters(facts: RunFacts) -> Answer:
    domains = facts.record.domains
    return partly(
        "Clips of one patient are a cluster: intervals resample patients with all their clips.",
        f"Scores are also given for each domain: {join(domains)}." if domains else "",
    )


def _measures(facts: RunFacts) -> Answer:
    contents, found = facts.contents, []
    for label in facts.labels:
        metrics = contents.metrics_of(label)
        of_all = [metric for metric in metrics if not metric_names.is_of_class(metric)]
        names = "; ".join(metric_names.name(metric, label) for metric in of_all)
        more = ", and by class" if len(of_all) < len(metrics) else ""
        found.append(f"{label_title(label)}: {names}{more}.")
    resampled = formatting.resampled(contents)
    return partly(
        *found,
        f"Intervals: 95 %, {contents.num_draws:,} draws of {resampled} with replacement.",
        "Models are compared with the best baseline over the same draws.",
        f"Claims of the paper that are tested: {len(contents.claims)}, corrected (Holm)."
        if contents.claims else "",
        "External evaluation: the same scores on both sides, calibration before and after "
        "temperature scaling, prediction sets (conformal), groups of patients, decision curves."
        if facts.evaluations else "",
        "Plots: scores with intervals, ROC and precision-recall curves, calibration and confusion "
        "matrices where they apply, in report.html.",
    )  # fmt: skip


def _updating(facts: RunFacts) -> Answer:
    names = {model.name for model in facts.models}
    scaled = [
        own.name for own in facts.evaluations if any(score_sentences.describe_updates(own, names))
    ]
    return filled(
        "No weights of this run were changed after an evaluation.",
        f"{quote(scaled)}: scores are also given after temperature scaling. One temperature for "
        "each model, fitted on the validation patients of this run." if scaled else "",
    )  # fmt: skip


def _computing(facts: RunFacts) -> Answer:
    return filled(
        "Each fold's model predicted its test clips with the code of this version; the "
        "probabilities are in predictions/<arm>/fold<k>.parquet.",
        "`lus predict` computes them for new clips from the checkpoints of the run.",
    )


def _balance(facts: RunFacts) -> Answer:
    by_text: dict[str, list[str]] = {}
    for arm in facts.record.arms:
        if text := models.describe_balance(arm):
            by_text.setdefault(text, []).append(arm.name)
    if not by_text and any(mask_arms.scheme_of(label) for label in facts.labels):
        missing = "Say whether the loss of the masks weighs the classes, and why."
        return partly("No class is sampled more often than it occurs.", missing=missing)
    if not by_text:
        return filled("No method against class imbalance was used.")
    found = [
        f"{metric_names.capitalize(text)} ({count(len(names), 'arm')}, such as “{names[0]}”)."
        for text, names in by_text.items()
    ]
    return partly(*found, "Probabilities were not recalibrated to the frequencies of the classes.")


def _fairness(facts: RunFacts) -> Answer:
    people = facts.participants
    names = [name for name in (people.recorded if people else ()) if name not in ("source", "zone")]
    return partly(
        "Training treats all patients alike, whatever their group.",
        "The scores of groups of patients are compared (item 23a)."
        if any(score_sentences.describe_groups(facts, score_sentences.PEOPLE)) else "",
        f"The data record {join(TITLES[name].partition(',')[0].lower() for name in names)}, by "
        "which models can be compared." if names else
        "The data record no group by which models could be compared.",
    )  # fmt: skip


def _output(facts: RunFacts) -> Answer:
    found = []
    for label in facts.labels:
        if mask_arms.scheme_of(label):
            text = MASKS
        elif label == "biomarkers":
            text = "a probability for each sign; present from 0.5"
        else:
            text = "a probability for each class; the class is the most probable one"
        found.append(f"{label_title(label)}: {text}.")
    return partly(*found, "No threshold was tuned.") if found else Answer()


def _differences(facts: RunFacts) -> Answer:
    if not facts.evaluations:
        same = (
            "Patients for development and for evaluation come from the same sources by the same "
            "rules, with the same outcome and inputs. Chance decided who tests."
        )
        parts = [
            f"“{arm.name}” trains on {join(f'{k} {v}' for k, v in arm.rows.learns.items())} alone."
            for arm in facts.record.arms
            if arm.rows.learns
        ]
        return partly(same, *parts) if parts else filled(same)
    own = join(facts.record.data.sources)
    return partly(
        *(
            f"Developed on {own}; “{e.name}” evaluates on {e.sources}. Left out first, as they may "
            f"be patients of the run: {count(e.num_left_out, 'patient')}."
            for e in facts.evaluations
        )
    )


def _ethics(facts: RunFacts) -> Answer:
    return simulated(facts, "no patient took part")


def _protocol(facts: RunFacts) -> Answer:
    return partly(
        "experiment.json and folds.json of the run record study, arms, settings, seed and folds; "
        "they were written before training."
    )


def _data_sharing(facts: RunFacts) -> Answer:
    command = portable_command(facts.contents.command)
    if facts.is_synthetic:
        made = f"The clips of the run are simulated and can be made again: {command}"
        return partly(made) if facts.has_patients else filled(made)
    fingerprint = facts.record.data.fingerprint
    return partly(
        f"Sources: {join(facts.record.data.sources) or 'not recorded'}.",
        f"Fingerprint of the clips (SHA-256): {fingerprint}." if fingerprint else "",
    )


def _code_sharing(facts: RunFacts) -> Answer:
    return partly(*(f"{name}: {text}." for name, text in code_facts(facts).items()))


def code_facts(facts: RunFacts) -> dict[str, str]:
    """Code, command, seeds and machine, those that are recorded."""
    contents = facts.contents
    known: dict[str, Any] = {
        "Software": f"lus_ray {contents.version or '(version not recorded)'}, licence {LICENCE}",
        "Commit": contents.commit or "not recorded",
        "Command": portable_command(contents.command),
        "Seed": "" if contents.seed is None else contents.seed,
        "Training seeds": contents.seeds,
        "Machine": formatting.machine(contents) or "not recorded",
        "Date": contents.started or "not recorded",
    }
    return {name: str(text) for name, text in known.items() if text != ""}


FILLERS: Mapping[str, Callable[[RunFacts], Answer]] = {
    "12a": _split, "12b": _handling, "12c": _building, "12d": _clusters, "12e": _measures,
    "12f": _updating, "12g": _computing, "13": _balance, "14": _fairness, "15": _output,
    "16": _differences, "17": _ethics, "18c": _protocol, "18e": _data_sharing,
    "18f": _code_sharing,
}  # fmt: skip
