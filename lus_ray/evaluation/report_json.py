"""What `report.json` says: one plain dictionary, the same bytes for the same run directory.

Means are over the finished folds in which a metric is defined; what is missing or undefined is
named beside them. Numbers are fractions of 1; a metric that is undefined is null.
"""

import math
from typing import Any
from zlib import crc32

import numpy as np

from lus_ray import folds
from lus_ray.evaluation import (
    arm_rows,
    claims,
    domains,
    example_clips,
    gaps,
    mask_arms,
    raters,
    scored_arms,
    uninorm_elements,
)
from lus_ray.evaluation.results import Run
from lus_ray.evaluation.scored_arms import ScoredArm
from lus_ray.runs import leakage

NUM_DRAWS = 1000

FEW = 3
"""So many published arms of a label are all drawn; of more, the one that the paper found best."""

NOTES = {
    "std": "population standard deviation over folds (ddof 0)",
    "interval": "95 % percentile interval of the mean over folds, patients resampled with "
    "replacement; too narrow below about 20 patients",
    "difference": "arm minus the baseline with the highest mean of that metric, paired over the "
    "same draws of patients",
    "cost": "sums over the finished folds of the arm itself, without arms that it starts from or "
    "reads; memory is the highest of them",
    "highlights": "the best baseline, the arms of the paper or its best one, and the best arm of "
    "each family; best by the test patients, so that the best of many looks better than it is",
    "verdict": "reproduced: the difference is above 0 and its interval excludes 0; no correction "
    "for the number of claims",
}

WEAK = (
    "Weak supervision: nobody scored single frames of these clips. Every frame was trained with "
    "the score of its whole clip, and figures of frames show agreement with that score."
)

PRINTED = (
    "of a metric per image in one domain the paper prints the standard deviation over images, "
    "beside which this report has its own in the tables of each domain"
)


def compute(run: Run, *, num_draws: int = NUM_DRAWS) -> tuple[dict[str, Any], dict[str, ScoredArm]]:
    """The contents of `report.json`, and the scored arms behind them."""
    experiment = run.experiment
    arms = _score_all(run, num_draws=num_draws)
    metrics = list(experiment.get("metrics") or ["auc", "accuracy"])
    leaky, at_random = leakage.leaks(experiment), leakage.arms_split_at_random(experiment)
    notes = NOTES | {k: leakage.KINDS[k] for kinds in leaky.values() for k in kinds}
    notes |= mask_arms.notes(experiment)
    contents = {
        key: experiment.get(key) for key in ("version", "experiment", "title", "size", "seed")
    }
    contents |= {
        "command": command(experiment),
        "data": experiment.get("data", {}),
        "folds": _folds(run),
        "metrics": metrics,
        "num_draws": num_draws,
        "notes": notes,
        "warnings": warnings(run),
        "cell_notes": [
            {"arm": cell.arm, "fold": cell.fold, "note": note}
            for cell in run.cells.values()
            for note in cell.cost.get("notes") or ()
        ],
        "missing": [
            {"arm": arm.name, "fold": fold} for arm in arms.values() for fold in arm.missing
        ],
        "arms": [arm_rows.row(arm, arms, experiment, leaks=leaky) for arm in arms.values()],
        "highlights": {
            label: _highlights([a for a in arms.values() if a.label == label], experiment, metrics)
            for label in dict.fromkeys(arm.label for arm in arms.values() if arm.label)
        },
        "claims": [claims.verdict(entry, arms) for entry in experiment.get("claims") or []],
        "gaps": [
            gaps.measure(gap, arms, metrics, folds=run.folds.values(), at_random=at_random)
            for gap in experiment.get("gaps") or []
        ],
        "raters": raters.compare(run, arms, metrics, leaving_out=set(leaky)),
        "neutral": uninorm_elements.compare(run),
        "clips": example_clips.choose(run, arms, metrics, leaving_out=set(leaky)),
    }
    if experiment.get("domains"):
        notes["paper"] = PRINTED
        contents["domains"] = domains.compute(experiment, arms, leaving_last=set(leaky))
    return plain(contents), arms


def command(experiment: dict[str, Any]) -> str:
    """The commands that make the run again; STORE stands for clips where none is recorded."""
    if experiment.get("commands"):
        return " && ".join(experiment["commands"])
    data = experiment.get("data", {})
    given = "" if set(data.get("sources") or {}) == {"phantom"} else " --data STORE"
    return f"lus run {experiment['experiment']}{given} --size {experiment.get('size', 'full')}"


def warnings(run: Run) -> list[str]:
    """What a reader must know before believing a number."""
    found = []
    if run.experiment.get("supervision") == "weak":
        found.append(WEAK)
    expected = run.experiment.get("data", {}).get("fingerprint")
    others = sorted(
        f"{c.arm}, fold {c.fold}"
        for c in run.cells.values()
        if expected and c.fingerprint and c.fingerprint != expected
    )
    if others:
        found.append(
            f"{len(others)} cells were made from other clips than experiment.json names: "
            f"{'; '.join(others[:3])}. Run again into an empty folder."
        )
    num_tested = len({p for fold in run.folds.values() for p in fold.test})
    if num_tested < 20:
        found.append(f"Only {num_tested} patients are tested: intervals are too narrow.")
    return found


def plain(value: Any) -> Any:
    """JSON values: NaN becomes null, arrays become lists."""
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _highlights(
    peers: list[ScoredArm], experiment: dict[str, Any], metrics: list[str]
) -> list[str]:
    """The arms of one label worth a picture; among them those of the paper, or its best one."""
    metric = scored_arms.first_metric(peers, metrics)
    printed = experiment.get("published") or {}
    known = {a.name: printed[a.name][metric][0] for a in peers if metric in printed.get(a.name, {})}
    clean = [name for name in known if name not in leakage.leaks(experiment)]
    if len(clean) > FEW:
        clean = [max(clean, key=known.__getitem__)]
    return scored_arms.highlights(peers, metric, also=clean)


def _score_all(run: Run, *, num_draws: int) -> dict[str, ScoredArm]:
    """Every arm in order; each label has its own draws, which no other label can shift."""
    leaky = leakage.leaks(run.experiment)
    arms = {}
    for entry in run.experiment["arms"]:
        name = entry["name"]
        cells = {fold: run.cells[name, fold] for fold in run.folds if (name, fold) in run.cells}
        arms[name] = ScoredArm(
            name=name,
            label=entry.get("label"),
            baseline=bool(entry.get("baseline")),
            family=(
                entry.get("start"),
                entry.get("reads"),
                bool(entry.get("crossfit")),
                leaky.get(name),
                name if entry.get("recipe") else None,
            ),
            planned=tuple(run.folds),
            cells=cells,
        )
    for label in dict.fromkeys(arm.label for arm in arms.values() if arm.label):
        rng = np.random.default_rng([int(run.experiment.get("seed") or 0), crc32(label.encode())])
        peers = [arm for arm in arms.values() if arm.label == label]
        arms |= scored_arms.score_arms(
            peers, num_draws=num_draws, rng=rng, roles=tuple(run.experiment.get("domains") or ())
        )
    return arms


def _folds(run: Run) -> dict[str, Any]:
    return {
        **(run.experiment.get("folds") or {}),
        "fingerprint": folds.fingerprint(run.folds.values()),
        "sizes": [
            {
                "fold": fold.number,
                **{f"num_{side}": len(getattr(fold, side)) for side in folds.SPLITS},
            }
            for fold in run.folds.values()
        ],
    }
