"""Answers to items 1 to 11: study, data, participants, outcome, predictors, missing data."""

from collections.abc import Callable, Mapping

from lus_ray.data.labels import label_name
from lus_ray.metrics.bootstrap import MIN_PATIENTS
from lus_ray.report import conclusions
from lus_ray.report.pack.checklist import Answer, filled, partly
from lus_ray.report.pack.facts import RunFacts
from lus_ray.report.pack.ingested import IngestedSource
from lus_ray.report.pack.wording import count, define, join, outcomes, sentence, simulated


def _title(facts: RunFacts) -> Answer:
    kind = "external" if facts.evaluations else "internal"
    data = " (simulated patients)" if facts.is_synthetic else ""
    text = (
        f"Proposal: Development and {kind} evaluation of models that predict {outcomes(facts)} "
        f"from lung ultrasound{data}."
    )
    return partly(text)


def _abstract(facts: RunFacts) -> Answer:
    found = conclusions.conclude(facts.contents)
    return partly(
        f"Data: {found.data}", f"Finding: {found.finding}", f"How sure: {found.certainty}"
    )


def _objectives(facts: RunFacts) -> Answer:
    contents = facts.contents
    title = contents.title or contents.experiment
    claims = [claim.text.rstrip(".") for claim in contents.claims]
    others = join(sorted({evaluation.name for evaluation in facts.evaluations}))
    return partly(
        f"The run develops models (study “{title}”) and evaluates them on test patients who are "
        "not among the training patients.",
        f"It also evaluates them on clips of other stores: {others}." if others else "",
        f"It tests {count(len(claims), 'claim')} of the paper: {'; '.join(claims)}."
        if claims else "",
    )  # fmt: skip


def _sources(facts: RunFacts) -> Answer:
    found = describe_sources(facts)
    external = [
        f"External evaluation “{own.name}”: {count(own.data.get('clips'), 'clip')} of "
        f"{count(own.data.get('patients'), 'patient')} from {own.sources}."
        for own in facts.evaluations
    ]
    same = "Development and evaluation use the same sources with different patients."
    return partly(*found, *external, "" if external else same)


def describe_sources(facts: RunFacts) -> list[str]:
    """The sources of the run's own clips."""
    return [
        f"{source.name}: {count(source.num_clips, 'clip')} of "
        f"{count(source.num_patients, 'patient')}"
        f"{', simulated; they represent nobody' if source.is_synthetic else ''}."
        for source in facts.sources
    ]


def _dates(facts: RunFacts) -> Answer:
    return simulated(facts, "there are no dates")


def _setting(facts: RunFacts) -> Answer:
    if facts.is_synthetic:
        return simulated(facts, "there is no centre")
    people = facts.participants
    site = people.everybody["site"] if people else None
    return partly(f"Patients by recorded site: {site.text}.") if site and site.known else Answer()


def _eligibility(facts: RunFacts) -> Answer:
    record, data = facts.record, facts.record.data
    used = f"The study uses {count(data.clips, 'clip')} of {count(data.patients, 'patient')}"
    stored = sum(source.num_clips or 0 for source in facts.sources)
    found = [f"{used}{f' out of {stored:,} clips of the store' if stored else ''}."]
    if record.domains:
        found.append(f"Clips of the domains {join(record.domains)} take part.")
    if record.frames_with:
        found.append(f"Frames whose mask shows {record.frames_with} take part.")
    needs = sorted({column for arm in record.arms for column in arm.rows.needs})
    if needs:
        found.append(f"Some models need clips that have {join(map(label_name, needs))}.")
    found.append("For each label, clips take part that are annotated with it.")
    return partly(*found)


def _treatments(facts: RunFacts) -> Answer:
    return simulated(facts, "nobody was treated")


def _preparation(facts: RunFacts) -> Answer:
    found = [
        f"{source.name}: {count(source.max_side, 'pixel')} at most on the long side, grey."
        for source in facts.sources
        if source.max_side
    ]
    joined = sum(source.num_joined for source in facts.sources)
    return partly(
        *found,
        "Files that do not decode whole are skipped or repaired; the ledger of the store lists "
        "each with its reason.",
        "Every clip was compared with all others by pixels; patients with clips that are copies or "
        f"nearly so are kept in one group. {count(joined, 'patient')} were joined to another."
    )  # fmt: skip


def _outcome(facts: RunFacts) -> Answer:
    found = [sentence(f"{label_name(own)}: {define(own, facts)}") for own in facts.labels]
    horizon = "The outcome is the state at the time of the scan: diagnosis, not prognosis."
    return partly(*found, horizon) if found else Answer()


def _assessors(facts: RunFacts) -> Answer:
    if facts.is_synthetic:
        return _blinding(facts)
    raters = facts.contents.raters
    if raters is not None and raters.num_raters:
        return partly(
            f"{count(raters.num_raters, 'rater')} scored {count(raters.num_clips, 'clip')}; the "
            "report compares them."
        )
    return Answer()


def _blinding(facts: RunFacts) -> Answer:
    return simulated(facts, "the simulation sets the outcome, and nobody judged it")


def _choice(facts: RunFacts) -> Answer:
    return partly(
        "The models read pixels of the clips, or what an earlier model predicts from them; no "
        "other data of the patient is an input.",
        "No predictor was chosen or removed before training.",
    )


def _predictors(facts: RunFacts) -> Answer:
    models = {model.inputs: model.name for model in facts.models if model.inputs}
    found = [f"{sentence(inputs)} Example: “{name}”." for inputs, name in models.items()]
    made = simulated(facts, "nobody recorded them")
    return Answer((*found, *made.found), made.missing) if found else Answer()


def _operators(facts: RunFacts) -> Answer:
    return simulated(facts, "nobody recorded them")


def _sample_size(facts: RunFacts) -> Answer:
    data, contents = facts.record.data, facts.contents
    detectable = [
        f"{100 * claim.detectable:.1f} points for “{claim.text.rstrip('.')}”"
        for claim in contents.claims
        if claim.detectable is not None
    ]
    return partly(
        f"{count(data.patients, 'patient')} with {count(data.clips, 'clip')}; "
        f"{count(facts.num_test_patients, 'patient')} tested the models.",
        f"Below {MIN_PATIENTS} test patients no claim is decided." if contents.claims else "",
        "Smallest differences that data like these find with a power of 80 %: "
        f"{'; '.join(detectable)}." if detectable else "",
        "The run calculated no sample size; it takes the clips that the store has.",
    )  # fmt: skip


def _missing(facts: RunFacts) -> Answer:
    found = [text for source in facts.sources for text in describe_missing(source)]
    handling = (
        "A clip without a label neither trains nor tests models of this label; no value is imputed."
    )
    whole = [_is_complete(source) for source in facts.sources]
    known = bool(whole) and all(whole) and not facts.has_patients
    gone = "" if facts.sources else "The run does not record how its clips were ingested."
    return filled(*found, handling) if known else partly(gone, *found, handling)


def _is_complete(source: IngestedSource) -> bool:
    """Whether the ingest lost no file, and every clip has every label of the study."""
    lost = (source.actions or {"skipped": 1}).get("skipped", 0)
    return (
        source.is_synthetic
        and not lost
        and source.missing is not None
        and not any(source.missing.values())
    )


def describe_missing(source: IngestedSource) -> list[str]:
    """Files skipped and repaired with reasons, and clips without each label."""
    found = []
    if source.num_files is not None:
        skipped = count(source.num_skipped_files, "file")
        found.append(f"{source.name}: {skipped} of {source.num_files:,} skipped.")
    if source.actions is None:
        found.append(f"{source.name}: the run does not record what the ingest skipped.")
    else:
        done = {name: source.actions.get(name, 0) for name in ("skipped", "repaired", "noted")}
        parts = join(f"{number:,} {name}" for name, number in done.items())
        found.append(f"{source.name}: entries of the ledger: {parts}.")
    if source.reasons is None:
        found.append(f"{source.name}: the store is gone or has changed; reasons are not known.")
    for action, reasons in (source.reasons or {}).items():
        found += [f"{source.name}, {action}: {text} ({number:,})." for text, number in reasons]
    if source.missing is None:
        found.append(f"{source.name}: the run does not record how many clips lack a label.")
    else:
        total = f" of {source.num_clips:,} clips" if source.num_clips else ""
        found += [
            f"{source.name}: {label_name(label)} is missing in {number:,}{total}."
            for label, number in source.missing.items()
        ]
    return found


FILLERS: Mapping[str, Callable[[RunFacts], Answer]] = {
    "1": _title, "2": _abstract, "4": _objectives, "5a": _sources, "5b": _dates, "6a": _setting,
    "6b": _eligibility, "6c": _treatments, "7": _preparation, "8a": _outcome, "8b": _assessors,
    "8c": _blinding, "9a": _choice, "9b": _predictors, "9c": _operators, "10": _sample_size,
    "11": _missing,
}  # fmt: skip
