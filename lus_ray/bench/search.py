"""A search that gives up on hopeless samples by the mean of their folds, against one that does not.

Sixteen learning rates from 1e-5 to 1 for a small U-Net that outlines four classes, on two folds
with a common test side, eight epochs of 160 frames each; phantom clips of 24 patients, seen at
48x48. Half of the rates learn nothing, and the best ones differ by little.
Rival: Optuna's ask and tell over two processes that stay, as joblib's do, each of which trains the
folds of a sample one after the other. It has the sampler, the seed, the number of samples and the
cells of ours, and no pruning.
What is timed: until a finished sample's mean validation score is as good as the best that the
rival has at its end, and until all samples are through; the median over seeds. Where ours never
gets there, its ratio is 0. Later samples depend on what was told when, so the best scores of the
two differ by seed.
What is equal: the settings and the validation scores of samples that both draw before the sampler
learns from any.
"""

import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import optuna

from lus_ray.bench.cell_runs import Runs, in_process, phantoms, two_processes
from lus_ray.bench.measure import Measured, Rival, interleaved, median_interval
from lus_ray.data.transforms.view import View
from lus_ray.errors import LusError
from lus_ray.experiment import Arm, Experiment, Recipe, Search
from lus_ray.folds import fixed_test
from lus_ray.nets import UNet
from lus_ray.orchestration.cluster.connection import CELL_MODULE, connect
from lus_ray.orchestration.hyperparameter_search import WARMUP_SAMPLES
from lus_ray.orchestration.scheduler import val_score
from lus_ray.runs.cell import Cell
from lus_ray.runs.layout import RunFolder
from lus_ray.runs.plan import RunPlan
from lus_ray.tasks import Segmentation

NUM_PATIENTS, NUM_SAMPLES, NUM_EPOCHS, NUM_SEEDS, NUM_FOLDS = 24, 16, 8, 3, 2
TARGET = 1.3
RIVAL = "Optuna without pruning, two processes"
RATES = optuna.distributions.FloatDistribution(1e-5, 1.0, log=True)
VIEW = View(num_frames=1, height=48, width=48, num_samples=0)


@dataclass(frozen=True)
class Tried:
    """A sample that was trained on every fold: settings, mean validation score, when it ended."""

    settings: dict[str, float]
    score: float
    ended_s: float


Trials = dict[int, Tried]


def measure(
    repeats: int = NUM_SEEDS,
    *,
    num_patients: int = NUM_PATIENTS,
    num_samples: int = NUM_SAMPLES,
    num_epochs: int = NUM_EPOCHS,
) -> dict[str, Measured]:
    """As many seeds as repeats, on a cluster that runs.

    Raises:
        LusError: a sample of the rival is none of ours, so that no ratio has a sense.
    """
    given = phantoms(patients=num_patients, clips=2, frames=6, size=64)
    with given as (root, data), two_processes() as pool, connect(None, imports=CELL_MODULE):
        few = Runs(experiment(2, 1), data, root)
        check_samples(ours(few), theirs(few, pool), at_least=2)
        runs = Runs(experiment(num_samples, num_epochs), data, root)
        mine, other = list[Trials](), list[Trials]()
        seeds = {"ours": count(), "theirs": count()}
        measured = interleaved(
            lambda: mine.append(ours(seeded(runs, next(seeds["ours"])))),
            {RIVAL: lambda: other.append(theirs(seeded(runs, next(seeds["theirs"])), pool))},
            repeats=repeats,
            warmup=0,
            children=True,
        )
    reached = [until_as_good(*pair) for pair in zip(mine, other, strict=True)]
    return {
        "to an equal best validation score": to_score(measured, reached),
        f"all {num_samples} samples": measured,
    }


def experiment(num_samples: int, num_epochs: int) -> Experiment:
    """One arm that searches its learning rate by the mean of two folds."""
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
    """The same runs with another seed of folds, cells and sampler."""
    return replace(runs, experiment=replace(runs.experiment, seed=seed))


def ours(runs: Runs) -> Trials:
    """The samples of a campaign that were not given up, by number."""
    began = time.time()
    out = runs.campaign()
    trials = {}
    (study,) = optuna.get_all_study_summaries(journal := _journal(out))
    known = optuna.load_study(study_name=study.study_name, storage=journal)
    for trial in known.trials:
        cells = [Cell("unet", fold, trial.number) for fold in range(NUM_FOLDS)]
        folders = [RunFolder(out).cell(cell) for cell in cells]
        if all(folder.is_finished for folder in folders):
            ended = max(folder.predictions.stat().st_mtime for folder in folders)
            score = float(np.mean([val_score(folder) for folder in folders]))
            trials[trial.number] = Tried(trial.params, score, ended - began)
    return trials


def theirs(runs: Runs, pool: ProcessPoolExecutor) -> Trials:
    """All samples, two at a time, each of which is told when both of its folds are trained."""
    began = time.time()
    plan = runs.plan(runs.fresh("theirs"))
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # as a campaign does
    arm = runs.experiment.arms[0]
    assert arm.search is not None
    seed = runs.experiment.seed
    sampler = optuna.samplers.TPESampler(
        seed=seed, n_startup_trials=WARMUP_SAMPLES, constant_liar=True
    )
    study = optuna.create_study(direction="maximize", sampler=sampler)
    trials: Trials = {}
    running: dict[Future[float], optuna.Trial] = {}
    while len(trials) < arm.search.samples:
        while len(running) < 2 and len(study.get_trials(deepcopy=False)) < arm.search.samples:
            trial = study.ask(fixed_distributions=dict(arm.search.space))
            settings = tuple(sorted(trial.params.items()))
            cells = [Cell(arm.name, fold, trial.number, settings) for fold in range(NUM_FOLDS)]
            running[pool.submit(_mean_score, cells, plan, runs.data)] = trial
        for done in wait(running, return_when=FIRST_COMPLETED).done:
            trial, score = running.pop(done), done.result()
            study.tell(trial, score)
            trials[trial.number] = Tried(trial.params, score, time.time() - began)
    return trials


def check_samples(mine: Trials, other: Trials, *, at_least: int) -> None:
    """Refuse a rival that tries other settings first, or to which equal ones score otherwise.

    Raises:
        LusError: names the sample and what differs.
    """
    if min(len(mine), len(other)) < at_least:
        raise LusError(f"search: fewer than {at_least} samples to compare; no ratio is given")
    for number in range(at_least):
        for what in ("settings", "score"):
            found = [getattr(trials[number], what) for trials in (mine, other)]
            if found[0] != found[1]:
                raise LusError(
                    f"search: the {what} of sample {number} are {found[0]} by ours and {found[1]} "
                    "by the rival; no ratio is given for unequal work"
                )


def until_as_good(mine: Trials, other: Trials) -> tuple[float, float]:
    """Seconds until ours, and until the rival, has the best score of the rival; inf if never."""
    best = max(tried.score for tried in other.values())

    def first(trials: Trials) -> float:
        good: Iterator[float] = (t.ended_s for t in trials.values() if t.score >= best)
        return min(good, default=float("inf"))

    return first(mine), first(other)


def to_score(whole: Measured, reached: list[tuple[float, float]]) -> Measured:
    """The row of the time to an equal score; CPU seconds and memory are those of whole runs."""
    mine, other = np.array(reached).T
    ratios = other / mine
    low, high = median_interval(ratios, rng=np.random.default_rng(0))
    (rival,) = whole.rivals
    compared = Rival(
        rival.name,
        wall_ms=1000 * float(np.median(other)),
        cpu_s=rival.cpu_s,
        peak_mb=rival.peak_mb,
        ratio=float(np.median(ratios)),
        low=low,
        high=high,
    )
    wall_ms = 1000 * float(np.median(mine))
    return replace(whole, wall_ms=wall_ms, rivals=(compared,), target=TARGET)


def _mean_score(cells: list[Cell], plan: RunPlan, data: Path) -> float:
    return float(np.mean([in_process(cell, plan, data)["score"] for cell in cells]))


def _journal(out: Path) -> optuna.storages.JournalStorage:
    path = RunFolder(out).search_journal("unet")
    return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
