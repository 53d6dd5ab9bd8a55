"""Optuna studies of a campaign: which hyperparameters a sample tries, and when to prune it.

One study per fold, or one over the mean of the folds where they share a test set; both use
validation scores only. Studies lie in a journal file beside the cells.
Why a pruning rule of our own: it compares samples on the folds that have reported so far, so that
the last folds of a bad sample never start, which no pruner of Optuna does.
"""

import logging
import math
from collections import defaultdict

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import TrialState

from lus_ray.experiment import Arm
from lus_ray.runs.cell import Cell
from lus_ray.runs.json_files import parse_json_lines
from lus_ray.runs.layout import RunFolder

WARMUP_SAMPLES = 4  # drawn at random

RUNGS = (0.125, 0.25, 0.5)
"""Parts of the training after which the worse half of the samples so far is pruned (asynchronous
successive halving: Li et al. 2020, "A system for massively parallel hyperparameter tuning")."""

MIN_FOLDS = 2  # whose mean is compared


class ArmSearch:
    """The studies of one arm: `cell` samples settings, `record_score` takes scores."""

    def __init__(self, arm: Arm, folds: list[int], folder: RunFolder, *, seed: int) -> None:
        assert arm.search is not None
        self.arm, self.folds, self.space = arm, folds, dict(arm.search.space)
        self.num_samples, self.over_mean = arm.search.samples, arm.search.over == "mean"
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
        settings = tuple(sorted(self._trial(fold, sample).params.items()))
        return Cell(self.arm.name, fold, sample, settings)

    def should_prune(self, cell: Cell, epoch: int, score: float) -> bool:
        """Whether to prune a sample after an epoch on one of its folds.

        At a rung, a sample is pruned that is not in the better half of the samples so far, by its
        mean over the folds that have reported. One that ended before is not: its cell runs again.
        """
        assert cell.sample is not None
        if not math.isfinite(score):
            return False
        self.scores_at[cell.sample, epoch][cell.fold] = score
        if (state := self._state(cell)).is_finished():
            return state == TrialState.PRUNED
        folds = self.scores_at[cell.sample, epoch].keys() if self.over_mean else {cell.fold}
        min_folds = min(MIN_FOLDS, len(self.folds)) if self.over_mean else 1
        if epoch + 1 not in self.rungs or len(folds) < min_folds:
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
        totals = {
            sample: self._mean(scores) if self.over_mean else scores.get(fold, -math.inf)
            for sample, scores in self.scores.items()
            if not self.over_mean or len(scores) == len(self.folds)
        }
        finite = {sample: total for sample, total in totals.items() if math.isfinite(total)}
        return max(sorted(finite), key=lambda sample: finite[sample]) if finite else 0

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
                else study.ask(fixed_distributions=self.space)
            )
        return self.trials[key, sample]
