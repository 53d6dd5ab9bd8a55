"""Optuna studies of a campaign: which hyperparameters a sample tries, and when to prune it.

One study per fold, or one over the mean of the folds where they share a test set; both use
validation scores only. Studies lie in a journal file beside the cells.
Why not Ray Tune's OptunaSearch: it samples new settings for every trial and scores a trial by its
last result. Here a trial is one fold, folds share the settings of a sample, and the sample has the
mean of their scores; one campaign searches many arms, of which some wait for others.
Tried with Ray 2.60 on a journal: a trial that ASHA stops after one epoch is told to Optuna as
complete, with the score of that epoch, and a restarted search samples the settings of its first
three trials again, as three more trials. Here pruned samples are told as pruned, and a restart
goes on with the same samples. Measured on the search of `bench/search.py` (16 rates, 2 folds of 8
epochs, one seed; real trainings on a simulated clock with two workers): OptunaSearch with ASHA,
whose trials train their folds in turn, finds its best mean IoU of 0.262 in the time of 34 epochs
and ends then; this search has it after 18, and ends with 0.274 after 84.
Why a pruning rule of our own: it compares samples on the folds that have reported so far, so that
the last folds of a bad sample never start, which no pruner of Optuna does.
"""

import logging
import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Literal

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import TrialState

from lus_ray.arm_settings import read_setting
from lus_ray.experiment import Arm
from lus_ray.runs.cell import Cell
from lus_ray.runs.json_files import parse_json_lines
from lus_ray.runs.layout import RunFolder
from lus_ray.runs.search_result import SampleResult, SearchResult, finite

WARMUP_SAMPLES = 4  # drawn at random

RUNGS = (0.125, 0.25, 0.5)
"""Parts of the training after which the worse half of the samples so far is pruned (asynchronous
successive halving: Li et al. 2020, "A system for massively parallel hyperparameter tuning")."""

MIN_FOLDS = 2  # whose mean is compared


STATES: dict[TrialState, Literal["finished", "pruned", "unfinished"]] = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "pruned",
    TrialState.RUNNING: "unfinished",
}


class ArmSearch:
    """The studies of one arm: `cell` samples settings, `record_score` takes scores.

    The first sample is the arm as it is, without settings. With `trains_again`, the chosen sample
    is, on validation patients too.
    """

    def __init__(self, arm: Arm, folds: list[int], folder: RunFolder, *, seed: int) -> None:
        assert arm.search is not None
        self.arm, self.folds, self.space = arm, folds, dict(arm.search.space)
        self.num_samples, self.over_mean = arm.search.samples, arm.search.over == "mean"
        self.trains_again = arm.rows.with_val
        num_epochs = arm.recipe.epochs if arm.recipe else 1
        self.rungs = {max(1, round(part * num_epochs)) for part in RUNGS} - {num_epochs}
        self.trials: dict[tuple[int | None, int], optuna.Trial] = {}
        self.scores_at: dict[tuple[int, int], dict[int, float]] = defaultdict(dict)
        self.scores: dict[int, dict[int, float]] = defaultdict(dict)
        logging.getLogger("optuna").setLevel(logging.WARNING)
        path = folder.search_journal(arm.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = JournalFileOpenLock(str(path))
        storage = JournalStorage(JournalFileBackend(str(path), lock_obj=lock))
        keys = [None] if self.over_mean else folds
        self.studies = {
            key: optuna.create_study(
                study_name="mean" if key is None else f"fold{key}",
                storage=storage,
                direction="maximize",
                load_if_exists=True,
                sampler=optuna.samplers.TPESampler(
                    seed=seed, n_startup_trials=WARMUP_SAMPLES, constant_liar=True
                ),
            )
            for key in keys
        }
        self._read_metrics(folder)

    def cell(self, fold: int, sample: int) -> Cell:
        """The cell of a sample on a fold, with the settings that Optuna chose for it."""
        settings = tuple(sorted(self._trial(fold, sample).params.items()))  # none of the first
        return Cell(self.arm.name, fold, sample, settings)

    def should_prune(self, cell: Cell, epoch: int, score: float) -> bool:
        """Whether to prune a sample after an epoch on one of its folds.

        At a rung, a sample is pruned that is not in the better half of the samples so far, by its
        mean over the folds that have reported. One that ended before is not: its cell runs again.
        The first never is, as the report compares the chosen sample with it.
        """
        assert cell.sample is not None
        if not math.isfinite(score):
            return False
        self.scores_at[cell.sample, epoch][cell.fold] = score
        if (state := self._state(cell)).is_finished():
            return state == TrialState.PRUNED
        folds = self.scores_at[cell.sample, epoch].keys() if self.over_mean else {cell.fold}
        min_folds = min(MIN_FOLDS, len(self.folds)) if self.over_mean else 1
        if not cell.sample or epoch + 1 not in self.rungs or len(folds) < min_folds:
            return False
        means = {
            sample: sum(scores[fold] for fold in folds) / len(folds)
            for (sample, when), scores in self.scores_at.items()
            if when == epoch and folds <= scores.keys()
        }
        num_better = sum(mean > means[cell.sample] for mean in means.values())
        if num_better < (len(means) + 1) // 2:
            return False
        self._trial(cell.fold, cell.sample).report(means[cell.sample], epoch)
        return True

    def is_pruned(self, cell: Cell) -> bool:
        """Whether the sample was pruned: here, on another fold, or before a restart."""
        return self._state(cell) == TrialState.PRUNED

    def record_score(self, cell: Cell, score: float, *, pruned: bool) -> None:
        """Record a sample's score on a fold, and tell the study once the sample is complete."""
        assert cell.sample is not None
        scores = self.scores[cell.sample]
        scores[cell.fold] = score
        key = self._key(cell.fold)
        if key is None and len(scores) < len(self.folds) and not pruned:
            return
        value = self._mean(scores) if key is None else score
        is_pruned = pruned or not math.isfinite(value)
        self.studies[key].tell(
            self._trial(cell.fold, cell.sample),
            values=None if is_pruned else value,
            state=TrialState.PRUNED if is_pruned else None,
            skip_if_finished=True,
        )

    def best_sample(self, fold: int) -> int:
        """The sample with the best validation score; the first of equals."""
        totals = {sample: t for sample, t in self._totals(fold).items() if math.isfinite(t)}
        return max(sorted(totals), key=totals.__getitem__) if totals else 0

    def result(self, failed: Collection[Cell] = ()) -> SearchResult:
        """What was sampled so far, and what is the best of it; `failed` are cells of samples."""
        keys: Sequence[int | None] = [None] if self.over_mean else self.folds
        return SearchResult(
            arm=self.arm.name,
            space={name: describe_range(values) for name, values in self.space.items()},
            unchanged={name: read_setting(self.arm, name) for name in self.space},
            trained_again=self.trains_again,
            samples=tuple(sample for key in keys for sample in self._describe(key, failed)),
        )

    def _describe(self, key: int | None, failed: Collection[Cell]) -> Iterator[SampleResult]:
        folds = self.folds if key is None else [key]
        totals, best = self._totals(folds[0]), self.best_sample(folds[0])
        for trial in self.studies[key].get_trials(deepcopy=False):
            number, known = trial.number, self.scores[trial.number]
            is_failed = any(cell.sample == number and cell.fold in folds for cell in failed)
            yield SampleResult(
                number=number,
                fold=key,
                settings=dict(trial.params),
                state="failed" if is_failed else STATES[trial.state],
                scores={fold: finite(known[fold]) for fold in folds if fold in known},
                score=finite(totals.get(number, math.nan)),
                is_chosen=number == best and number in totals,
            )

    def _totals(self, fold: int) -> dict[int, float]:
        """The score of every complete sample, by its number."""
        if not self.over_mean:
            return {s: scores[fold] for s, scores in self.scores.items() if fold in scores}
        whole = {s: scores for s, scores in self.scores.items() if len(scores) == len(self.folds)}
        return {sample: self._mean(scores) for sample, scores in whole.items()}

    def _mean(self, scores: dict[int, float]) -> float:
        """The mean over folds; a fold in which no sample has a validation score does not count."""
        known = {f for own in self.scores.values() for f, s in own.items() if math.isfinite(s)}
        counted = [score for fold, score in scores.items() if fold in known]
        return sum(counted) / len(counted) if counted else math.nan

    def _read_metrics(self, folder: RunFolder) -> None:
        for fold in self.folds:
            for sample in range(self.num_samples):
                path = folder.cell(Cell(self.arm.name, fold, sample)).metrics
                for row in parse_json_lines(path.read_text()) if path.is_file() else ():
                    if math.isfinite(score := row.get("val_score", math.nan)):
                        self.scores_at[sample, int(row["epoch"])][fold] = score

    def _state(self, cell: Cell) -> TrialState:
        assert cell.sample is not None
        trials = self.studies[self._key(cell.fold)].get_trials(deepcopy=False)
        return trials[cell.sample].state if cell.sample < len(trials) else TrialState.WAITING

    def _key(self, fold: int) -> int | None:
        return None if self.over_mean else fold

    def _trial(self, fold: int, sample: int) -> optuna.Trial:
        key = self._key(fold)
        if (key, sample) not in self.trials:
            study = self.studies[key]
            known = study.get_trials(deepcopy=False)
            self.trials[key, sample] = (
                optuna.Trial(study, known[sample]._trial_id)
                if sample < len(known)
                else study.ask(fixed_distributions=self.space if known else {})
            )
        return self.trials[key, sample]


def describe_range(values: Any) -> str:
    """A distribution of Optuna in words: "1e-05 to 0.01, logarithmic", or its choices."""
    if isinstance(values, optuna.distributions.CategoricalDistribution):
        return ", ".join(map(str, values.choices))
    return f"{values.low:g} to {values.high:g}" + (", logarithmic" if values.log else "")
