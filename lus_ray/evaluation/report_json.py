"""The contents of report.json, computed from a run folder; the same folder gives the same bytes."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any
from zlib import crc32

import numpy as np

import lus_ray.folds as folds
from lus_ray.clip import PHANTOM
from lus_ray.evaluation import (
    arm_rows,
    comparisons,
    domains,
    ensemble_members,
    example_clips,
    mask_arms,
    raters,
    scored_arms,
    split_counts,
    uninorm_elements,
    untrained,
    verdicts,
)
from lus_ray.evaluation.results import RunResults
from lus_ray.evaluation.schema import CellNote, MissingCell, ReportContents
from lus_ray.evaluation.scored_arms import Arms, ScoredArm
from lus_ray.metrics import bootstrap
from lus_ray.runs import leakage, search_result
from lus_ray.runs.cell import name_fold
from lus_ray.runs.manifest import RunRecord

NUM_DRAWS = 1000

MAX_PUBLISHED = 3
"""Up to this many published arms of a label are all drawn; of more, the best in the paper."""

MAX_SKIPPED = 4
"""Names of skipped arms in a sentence; experiment.json has all of them."""

OUTCOMES = (
    "supported: the whole interval lies above 0 (for claims of being as good, above minus the "
    "margin); contradicted: below; undecided: it contains the bound, fewer than 20 patients were "
    "tested, or the size is below laptop. Intervals and p of claims are corrected for their number "
    "(Holm)"
)

NOTES = {
    "std": "population standard deviation over folds (ddof 0)",
    "interval": "95 % percentile interval of the mean over folds; patients are resampled with "
    "replacement; too narrow below about 20 patients; the seed of the training is not included: "
    "one seed; repeat with --seeds 3",
    "difference": "the arm minus the baseline with the highest mean of that metric, paired over "
    "the same draws of patients",
    "cost": "sum over the finished folds of the arm itself, excluding the arms that it starts from "
    "or reads; memory is the peak of all folds",
    "highlights": "the best baseline, the arms of the paper or its best one, and the best arm of "
    "each family; the test patients decide which is the best, so the best of many looks better "
    "than it is",
    "verdict": f"{OUTCOMES} and cover the choice of patients; the seed of the training is not "
    "included: one seed; repeat with --seeds 3",
}

NOTES_WITH_SEEDS = {
    "mean": "over folds and {seeds} training seeds",
    "std": "population standard deviation over folds (ddof 0) of the means over {seeds} training "
    "seeds",
    "interval": "95 % percentile interval of the mean over folds and {seeds} training seeds; "
    "patients and seeds are resampled with replacement; too narrow below about 20 patients, and "
    "with two seeds where these differ more than patients do",
    "difference": "the arm minus the baseline with the highest mean of that metric, paired over "
    "the same draws of patients and by training seed",
    "cost": "sum over the finished folds and seeds of the arm itself, excluding the arms that it "
    "starts from or reads; memory is the peak of all",
    "seeds": "{seeds} training seeds; confusion matrices are means over them, calibration pools "
    "them; curves, example clips and neutral elements are those of the first; per image and "
    "domain, tests compare means over seeds",
    "verdict": f"{OUTCOMES} and cover the choice of patients and of {{seeds}} training seeds",
}
"""Notes of a run with several training seeds."""

NOTES_OF_EVALUATION = {
    "std": "population standard deviation (ddof 0) over the models of the folds, which all predict "
    "the same external clips",
    "interval": "95 % percentile interval of the mean over the models of the folds; patients are "
    "resampled with replacement; too narrow below about 20 patients",
    "highlights": "the main arms of the run, whose own test patients chose them",
    "paper": "published values and claims are about the paper's own data; the report of the run "
    "has them",
}

WEAK = (
    "Weak supervision: no single frames of these clips have scores. Every frame was trained with "
    "the score of its clip, and frame metrics measure agreement with that score."
)

PUBLISHED_SPREAD = (
    "for metrics per image in one domain, the paper prints the standard deviation over images; "
    "the tables of each domain show that of this run"
)


def compute(
    run: RunResults, *, num_draws: int = NUM_DRAWS
) -> tuple[ReportContents, dict[str, ScoredArm]]:
    """The contents of report.json, and the scored arms behind them."""
    record = run.record
    arms = score_all(run, num_draws=num_draws)
    metrics = record.metrics or ("auc", "accuracy")
    lacking = untrained.find(arms)
    contents = ReportContents(
        version=record.version,
        commit=record.commit,
        started=record.started,
        machine=record.machine,
        experiment=record.experiment,
        title=record.title,
        size=record.size,
        seed=record.seed,
        seeds=record.seeds or 1,
        command=command(record),
        data=asdict(record.data),
        folds=_describe_folds(run),
        metrics=metrics,
        num_draws=num_draws,
        notes=_notes(run) | ({"untrained": untrained.NOTE} if lacking else {}),
        warnings=(
            *_warnings(run),
            *untrained.describe(lacking),
            *ensemble_members.describe(record.arms, arms, metrics, size=record.size),
        ),
        cell_notes=tuple(
            CellNote(arm=cell.arm, fold=cell.fold, seed=cell.seed, note=note)
            for first in run.cells.values()
            for cell in first.by_seed.values()
            for note in cell.cost.get("notes") or ()
        ),
        missing=tuple(
            MissingCell(arm=arm.name, fold=fold, seed=seed)
            for arm in arms.values()
            for fold, seed in arm.missing_cells
        ),
        arms=tuple(arm_rows.build_row(arm, arms, run) for arm in arms.values()),
        highlights={
            label: choose_main([a for a in arms.values() if a.label == label], run, metrics)
            for label in _labels(arms)
        },
        claims=tuple(verdicts.decide_claims(record.claims, arms, size=record.size)),
        gaps=tuple(
            comparisons.measure_gap(
                gap, arms, metrics, folds=run.folds.values(), at_random=run.at_random
            )
            for gap in record.gaps
        ),
        raters=raters.compare(run, arms, metrics),
        neutral=uninorm_elements.read_all(run),
        clips=example_clips.choose_clips(run, arms, metrics),
        domains=domains.compare_all(run, arms) if record.domains else None,
        untrained=lacking,
        splits=split_counts.count(run),
        evaluation_of=record.evaluation_of,
        remarks=record.remarks,
        searches=search_result.read_all(run.out, [arm.name for arm in record.arms]),
    )
    return contents, arms


def command(record: RunRecord) -> str:
    if record.commands:
        return " && ".join(record.commands)
    is_phantom = set(record.data.sources) == {PHANTOM}
    data = "" if is_phantom else " --data STORE"
    return f"lus run {record.experiment}{data} --size {record.size or 'full'}"


def _notes(run: RunResults) -> dict[str, str]:
    kinds = {kind: leakage.KINDS[kind] for own in run.leaks.values() for kind in own}
    paper = {"paper": PUBLISHED_SPREAD} if run.record.domains else {}
    seeds = run.record.seeds or 1
    repeated = {name: text.format(seeds=seeds) for name, text in NOTES_WITH_SEEDS.items()}
    return (
        NOTES
        | (repeated if seeds > 1 else {})
        | kinds
        | mask_arms.describe_masks(run.record)
        | paper
        | (NOTES_OF_EVALUATION if run.record.evaluation_of else {})
    )


def _warnings(run: RunResults) -> list[str]:
    warnings = []
    if run.record.supervision == "weak":
        warnings.append(WEAK)
    expected = run.record.data.fingerprint
    others = sorted(
        f"{c.arm}, {name_fold(c.fold, c.seed)}"
        for first in run.cells.values()
        for c in first.by_seed.values()
        if expected and c.fingerprint and c.fingerprint != expected
    )
    if others:
        warnings.append(
            f"{len(others)} cells were computed from clips other than those in experiment.json: "
            f"{'; '.join(others[:3])}. Run again into an empty folder."
        )
    num_tested = len({p for fold in run.folds.values() for p in fold.test})
    if num_tested < bootstrap.MIN_PATIENTS:
        few = "too few for intervals"
        few = few if num_tested < bootstrap.MIN_RESAMPLED else "intervals are too narrow"
        warnings.append(f"Only {num_tested} test patients: {few}.")
    if run.record.evaluation_of is None:
        warnings += _describe_skipped(run.record)
    return warnings


def _describe_skipped(record: RunRecord) -> list[str]:
    """What the run left out or changed when it was prepared, in sentences."""
    notes = [f"{note[:1].upper()}{note[1:]}." for note in record.notes]
    for reason, names in record.skipped_arms.items():
        more = f" and {len(names) - MAX_SKIPPED} more" if len(names) > MAX_SKIPPED else ""
        arms = f"{len(names)} arm{'s' * (len(names) > 1)} skipped"
        notes.append(f"{arms}, as {reason}: {'; '.join(names[:MAX_SKIPPED])}{more}.")
    return notes


def choose_main(
    peers: Sequence[ScoredArm], run: RunResults, metrics: Sequence[str]
) -> tuple[str, ...]:
    """The arms of a label that the first view of a report shows."""
    metric = scored_arms.first_metric(peers, metrics)
    rows = run.record.published
    scores = {a.name: rows[a.name][metric][0] for a in peers if metric in rows.get(a.name, {})}
    clean = [name for name in scores if name not in run.leaks]
    if len(clean) > MAX_PUBLISHED:
        clean = [max(clean, key=scores.__getitem__)]
    return tuple(scored_arms.choose_highlights(peers, metric, also=clean))


def score_all(run: RunResults, *, num_draws: int) -> dict[str, ScoredArm]:
    """Every arm with its scores, by name."""
    arms = {}
    for entry in run.record.arms:
        name = entry.name
        network = name if entry.recipe else None
        arms[name] = ScoredArm(
            name=name,
            label=entry.label,
            baseline=entry.baseline,
            family=(entry.start, entry.reads, bool(entry.crossfit), run.leaks.get(name), network),
            planned=tuple(run.folds),
            num_seeds=run.record.seeds or 1,
            cells={fold: run.cells[name, fold] for fold in run.folds if (name, fold) in run.cells},
        )
    roles = tuple(run.record.domains)
    for label in _labels(arms):
        rng = np.random.default_rng([run.record.seed or 0, crc32(label.encode())])
        peers = [arm for arm in arms.values() if arm.label == label]
        arms |= scored_arms.score_arms(peers, num_draws=num_draws, rng=rng, roles=roles)
    return arms


def _labels(arms: Arms) -> list[str]:
    return list(dict.fromkeys(arm.label for arm in arms.values() if arm.label))


def _describe_folds(run: RunResults) -> dict[str, Any]:
    assigned = run.folds.values()
    sizes = [
        {"fold": f.number, **{f"num_{split}": len(getattr(f, split)) for split in folds.SPLITS}}
        for f in assigned
    ]
    return {**run.record.folds, "fingerprint": folds.fingerprint(assigned), "sizes": sizes}
