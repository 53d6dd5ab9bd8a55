"""A search that prunes samples by the mean of their folds, against one that does not.

Twelve learning rates from 1e-5 to 1 for a small U-Net with four classes, on two folds with a
common test side, five epochs of 160 frames each; phantom clips of 24 patients at 48 x 48.
The rival is Optuna 5 with its defaults, asked and told by a process that gives samples to two that
stay, each of which trains the folds of a sample in turn; seed and cells are those of ours. It takes
ten random samples before it learns, ours takes four.
What is timed: until a finished sample's mean validation score is as good as the best that both
sides reach by their ends, and until all samples are finished; the median over seeds.
Equal are the first two samples, before either side learns; the first has the arm's own rate.
"""

import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import optuna

from lus_ray.bench.cell_runs import Runs, new_processes, phantom_store, run_cell_alone
from lus_ray.bench.measure import Comparison, Result, Timings, compare_timings, refuse
from lus_ray.data.transforms.view import View
from lus_ray.experiment import Arm, Experiment, Recipe, Search
from lus_ray.folds import fixed_test
from lus_ray.nets import UNet
from lus_ray.orchestration.scheduler import val_score
from lus_ray.runs.cell import Cell
from lus_ray.runs.layout import RunFolder
from lus_ray.runs.plan import RunPlan
from lus_ray.tasks import Segmentation

NUM_FOLDS = 2
TARGET = 1.3
RIVAL = "Optuna 5 with its defaults, two processes"
RATES = optuna.distributions.FloatDistribution(1e-5, 1.0, log=True)
VIEW = View(num_frames=1, height=48, width=48, num_samples=0)


@dataclass(frozen=True)
class TrialResult:
    """A sample trained on every fold, its mean validation score, and seconds until its end."""

    settings: dict[str, float]
    score: float
    ended_s: float


Trials = dict[int, TrialResult]


def compare(
    *, num_seeds: int = 2, num_patients: int = 24, num_samples: int = 12, num_epochs: int = 5
) -> Iterator[tuple[str, Result]]:
    """So many seeds, with the start of each campaign."""
    clips = phantom_store(patients=num_patients, clips=2, frames=6, size=64)
    with clips as (root, data), new_processes(2) as pool:
        few = Runs(experiment(2, 1), data, root)
        check_samples(run_ours(few), run_rival(few, pool), at_least=2)
        runs = Runs(experiment(num_samples, num_epochs), data, root)
        ours, theirs = list[Trials](), list[Trials]()
        measured = Comparison(
            lambda: ours.append(run_ours(seeded(runs, len(ours)))),
            {RIVAL: lambda: theirs.append(run_rival(seeded(runs, len(theirs)), pool))},
            children=True,
            warmup=0,
        ).measure(num_seeds)
    reached = [until_as_good(*trials) for trials in zip(ours, theirs, strict=True)]
    yield "to the best validation score that both reach", to_score(measured, reached)
    yield f"all {num_samples} samples", measured


def experiment(num_samples: int, num_epochs: int) -> Experiment:
    recipe = Recipe(epochs=num_epochs, batch=8, lr=1e-3, draws=160, val_samples=2)
    arm = Arm(
        "unet",
        partial(Segmentation, scheme="sparse", view=VIEW, net=partial(UNet, widths=(4, 8))),
        recipe,
        label="sparse masks",
        search=Search({"lr": RATES}, samples=num_samples, over="mean"),
    )
    return Experiment(
        name="search",
        title="A search",
        folds=fixed_test(parts=4, cv=NUM_FOLDS),
        arms=(arm,),
        metrics=("mean_iou",),
    )


def seeded(runs: Runs, seed: int) -> Runs:
    return replace(runs, experiment=replace(runs.experiment, seed=seed))


def run_ours(runs: Runs) -> Trials:
    """The samples of a campaign that were not pruned, by number."""
    began, trials = time.time(), {}
    folder = RunFolder(runs.campaign())
    backend = optuna.storages.journal.JournalFileBackend(str(folder.search_journal("unet")))
    journal = optuna.storages.JournalStorage(backend)
    (study,) = optuna.get_all_study_summaries(journal)
    for trial in optuna.load_study(study_name=study.study_name, storage=journal).trials:
        folders = [folder.cell(Cell("unet", fold, trial.number)) for fold in range(NUM_FOLDS)]
        if all(cell.is_finished for cell in folders):
            ended = max(cell.predictions.stat().st_mtime for cell in folders)
            score = float(np.mean([val_score(cell) for cell in folders]))
            trials[trial.number] = TrialResult(trial.params, score, ended - began)
    return trials


def run_rival(runs: Runs, pool: ProcessPoolExecutor) -> Trials:
    """All samples, two at a time, each reported when both of its folds are trained."""
    began, plan = time.time(), runs.plan(runs.new_folder("theirs"))
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # as a campaign does
    arm = runs.experiment.arms[0]
    assert arm.search is not None
    sampler = optuna.samplers.TPESampler(seed=runs.experiment.seed)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    trials: Trials = {}
    running: dict[Future[float], optuna.Trial] = {}
    while len(trials) < arm.search.samples:
        while len(running) < 2 and len(study.get_trials(deepcopy=False)) < arm.search.samples:
            is_first = not study.get_trials(deepcopy=False)  # the arm unchanged, as in ours
            trial = study.ask(fixed_distributions={} if is_first else dict(arm.search.space))
            settings = tuple(sorted(trial.params.items()))
            cells = [Cell(arm.name, fold, trial.number, settings) for fold in range(NUM_FOLDS)]
            running[pool.submit(_mean_score, cells, plan, runs.data)] = trial
        for done in wait(running, return_when=FIRST_COMPLETED).done:
            trial, score = running.pop(done), done.result()
            study.tell(trial, score)
            trials[trial.number] = TrialResult(trial.params, score, time.time() - began)
    return trials


def check_samples(ours: Trials, theirs: Trials, *, at_least: int) -> None:
    """Raise LusError if one of the first samples has other settings or another score."""
    if min(len(ours), len(theirs)) < at_least:
        refuse(f"search: fewer than {at_least} samples to compare")
    for number, field in product(range(at_least), ("settings", "score")):
        value, other = (getattr(trials[number], field) for trials in (ours, theirs))
        if value != other:
            values = f"{value} in ours and {other} in the rival"
            refuse(f"search: the {field} of sample {number} are {values}")


def until_as_good(ours: Trials, theirs: Trials) -> tuple[float, float]:
    """Seconds until ours and the rival reach the best score that both of them reach."""
    best = min(max(trial.score for trial in trials.values()) for trials in (ours, theirs))

    def first_s(trials: Trials) -> float:
        return min(trial.ended_s for trial in trials.values() if trial.score >= best)

    return first_s(ours), first_s(theirs)


def to_score(whole: Result, reached: list[tuple[float, float]]) -> Result:
    """The row of the time to an equal score; CPU seconds are those of whole runs."""
    (rival,) = whole.rivals
    ours_s, theirs_s = np.array(reached).T
    theirs = Timings(theirs_s, rival.cpu_s)
    return compare_timings(Timings(ours_s, whole.cpu_s), {rival.name: theirs}, target=TARGET)


def _mean_score(cells: list[Cell], plan: RunPlan, data: Path) -> float:
    return float(np.mean([run_cell_alone(cell, plan, data)["score"] for cell in cells]))
