"""Optuna behind a campaign: which hyperparameters a sample tries, and when to give up on it.

One study per fold, or one over the mean of the folds where they share a test set. Only
validation scores are told. Studies live in a journal file beside the cells, so that a killed
campaign goes on with what it knows.
Why our own rule to give up, and not a pruner of Optuna: it holds samples against each other on
the folds that were seen so far, so that the last folds of a bad one never begin.
"""

import logging
import math
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from lus_ray.experiment import Arm
from lus_ray.runs import layout
from lus_ray.runs.cell import Cell
from lus_ray.runs.layout import slug

WARMUP_SAMPLES = 4
"""Samples that are drawn at random before the others are drawn from what is known."""

RUNGS = (0.125, 0.25, 0.5)
"""Parts of the training after which the worse half of the samples that came so far is given up
(successive halving, each as it comes: Li et al. 2020, "A system for massively parallel
hyperparameter tuning")."""

WAITING = optuna.trial.TrialState.WAITING

FEWEST_FOLDS = 2
"""Folds over which a mean is one."""


class ArmSearch:
    """The studies of one arm. `ask` gives settings, `tell` takes scores, `hopeless` prunes."""

    def __init__(self, arm: Arm, folds: list[int], out: Path, *, seed: int) -> None:
        assert arm.search is not None
        self.arm, self.search, self.folds = arm, arm.search, folds
        self.over_mean = arm.search.over == "mean"
        num_epochs = arm.recipe.epochs if arm.recipe else 1
        self.rungs = {max(1, round(part * num_epochs)) for part in RUNGS} - {num_epochs}
        self.settings: dict[tuple[int | None, int], Any] = {}
        self.by_epoch: dict[tuple[int, int], dict[int, float]] = defaultdict(dict)
        self.scores: dict[int, dict[int, float]] = defaultdict(dict)
        logging.getLogger("optuna").setLevel(logging.WARNING)
        path = out / "cells" / slug(arm.name) / "search.journal"
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
        self._remember(out)

    def cell(self, fold: int, sample: int) -> Cell:
        """The cell of a sample on a fold, with the settings that Optuna chose for it."""
        trial = self._trial(fold, sample)
        chosen = tuple(sorted(trial.params.items()))
        return Cell(self.arm.name, fold, sample, chosen)

    def hopeless(self, cell: Cell, epoch: int, score: float) -> bool:
        """Whether to give up on a sample after an epoch of one of its folds.

        At a rung, it is one that does worse than half of those that came so far, itself among
        them, by the mean over the folds on which it was seen. Of one that came to its end before
        only a cell was lost, which is made again.
        """
        assert cell.sample is not None
        if not math.isfinite(score):
            return False
        self.by_epoch[cell.sample, epoch][cell.fold] = score
        if (state := self._state(cell)).is_finished():
            return state == optuna.trial.TrialState.PRUNED
        folds = self.by_epoch[cell.sample, epoch].keys() if self.over_mean else {cell.fold}
        fewest = min(FEWEST_FOLDS, len(self.folds)) if self.over_mean else 1
        if epoch + 1 not in self.rungs or len(folds) < fewest:
            return False
        means = {
            sample: sum(seen[fold] for fold in folds) / len(folds)
            for (sample, when), seen in self.by_epoch.items()
            if when == epoch and folds <= seen.keys()
        }
        num_better = sum(mean > means[cell.sample] for mean in means.values())
        if num_better < (len(means) + 1) // 2:
            return False
        self._trial(cell.fold, cell.sample).report(means[cell.sample], epoch)
        return True

    def gave_up(self, cell: Cell) -> bool:
        """Whether the sample was pruned, here, on another fold, or before a restart."""
        return self._state(cell) == optuna.trial.TrialState.PRUNED

    def tell(self, cell: Cell, score: float, *, pruned: bool) -> None:
        """Keep the score of a sample on a fold; the study hears of it when it is complete."""
        assert cell.sample is not None
        self.scores[cell.sample][cell.fold] = score
        key = self._key(cell.fold)
        known = self.scores[cell.sample]
        if key is None and len(known) < len(self.folds) and not pruned:
            return
        value = sum(known.values()) / len(known) if key is None else score
        study, trial = self.studies[key], self._trial(cell.fold, cell.sample)
        if trial.storage.get_trial(trial._trial_id).state.is_finished():
            return
        if pruned or not math.isfinite(value):
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(trial, value)

    def best(self, fold: int) -> int:
        """The sample with the best validation score; the first of equals."""
        totals = {
            sample: sum(known.values()) if self._key(fold) is None else known.get(fold, -math.inf)
            for sample, known in self.scores.items()
            if self._key(fold) is not None or len(known) == len(self.folds)
        }
        finite = {s: t for s, t in totals.items() if math.isfinite(t)}
        return max(sorted(finite), key=lambda sample: finite[sample]) if finite else 0

    def _remember(self, out: Path) -> None:
        """What samples scored after each epoch before a restart."""
        for path in (out / "cells" / slug(self.arm.name)).glob("fold*/sample*/metrics.jsonl"):
            fold, sample = (int(re.sub(r"\D", "", part)) for part in path.parts[-3:-1])
            for row in layout.lines(path.read_text()):
                if math.isfinite(score := row.get("val_score", math.nan)):
                    self.by_epoch[sample, int(row["epoch"])][fold] = score

    def _state(self, cell: Cell) -> optuna.trial.TrialState:
        """Whether the cell's sample is waited for, came to its end or was given up."""
        assert cell.sample is not None
        known = self.studies[self._key(cell.fold)].get_trials(deepcopy=False)
        return known[cell.sample].state if cell.sample < len(known) else WAITING

    def _key(self, fold: int) -> int | None:
        return None if self.over_mean else fold

    def _trial(self, fold: int, sample: int) -> optuna.Trial:
        key = self._key(fold)
        if (key, sample) not in self.settings:
            study = self.studies[key]
            known = study.get_trials(deepcopy=False)
            if sample < len(known):
                trial = optuna.Trial(study, known[sample]._trial_id)
            else:
                trial = study.ask(fixed_distributions=dict(self.search.space))
            self.settings[key, sample] = trial
        return self.settings[key, sample]
