"""The order of cells: each starts once its inputs are finished.

Whoever runs cells asks for the next one whenever there is capacity, and reports what becomes of it:
a Tune run on a cluster (`tune_run`), or processes of the command (`local_run`).
"""

import json
import math
import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import groupby
from typing import Any

from lus_ray.monitoring.events import Observer
from lus_ray.orchestration.failures import MAX_RETRIES, describe_loss, find_cell_error
from lus_ray.orchestration.hyperparameter_search import ArmSearch
from lus_ray.runs import search_result
from lus_ray.runs.cell import Cell
from lus_ray.runs.layout import CellFolder
from lus_ray.runs.plan import RunPlan

FINISHED = "FINISHED"
"""Suggested when no cell is left, as Tune has it."""


class CellScheduler:
    """Suggests the unfinished cells of a plan in order, each once its inputs are finished.

    A cell whose process or machine is lost is queued again and resumes from its last state; one
    that raises an error has failed.
    """

    def __init__(
        self, plan: RunPlan, observer: Observer, gpus: Callable[[Cell], float],
        share: Callable[[Cell], float] = lambda cell: 0.0,
    ) -> None:  # fmt: skip
        self.plan, self.observer, self.gpus, self.share = plan, observer, gpus, share
        folds = sorted({cell.fold for cell in plan.cells})
        self.searches = {
            arm.name: ArmSearch(arm, folds, plan.folder, seed=plan.experiment.seed)
            for arm in plan.experiment.arms
            if arm.is_searched
        }
        for cell in plan.cells:
            self._record_samples(cell)
        unfinished = plan.unfinished_cells()
        self.finished = set(plan.cells) - set(unfinished)
        self.failed: dict[Cell, str] = {}
        self.waiting: list[Cell] = []
        for arm, cells in groupby(unfinished, key=lambda cell: cell.arm):
            expanded = [sample for cell in cells for sample in self._expand(cell)]
            if arm in self.searches and self.searches[arm].over_mean:
                # A sample has a score when all of its folds have, and the next one depends on it.
                expanded.sort(key=lambda cell: cell.sample or 0)
            self.waiting += expanded
        self.running: dict[str, Cell] = {}
        self.last_report: dict[str, float] = {}
        self.pruned: set[Cell] = set()
        self.retries: Counter[Cell] = Counter()
        self.process_errors: dict[str, str] = {}
        self.max_running: int | None = None
        for name in self.searches:
            self._promote(name)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next ready cell; None while its inputs are running."""
        if self.max_running is not None and len(self.running) >= self.max_running:
            return None
        position = 0
        while position < len(self.waiting):
            cell = self.waiting[position]
            inputs = self.plan.inputs_of(cell)
            failed = [earlier for earlier in inputs if earlier in self.failed]
            if cell.sample is not None and self.searches[cell.arm].is_pruned(cell):
                self.waiting.pop(position)
                self._promote(cell.arm)
                position = 0  # cells that wait for the arm may be ready now
            elif failed:
                self.waiting.pop(position)
                blocked = replace(cell, sample=None, settings=())
                if blocked not in self.failed:  # once for all of its samples
                    self.failed[blocked] = f"its input {failed[0].name} failed"
                    self.observer.on_blocked(blocked)
            elif self.finished.issuperset(inputs) and self._has_room(cell):
                self.waiting.pop(position)
                return self._start(trial_id, cell)
            else:
                position += 1
        return None if self.running else FINISHED

    def _has_room(self, cell: Cell) -> bool:
        """Whether the workers of Ray Train fit beside those that run: a trial reserves none."""
        share = self.share(cell)
        return not share or share + sum(map(self.share, self.running.values())) < 1 + 1e-9

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        if (cell := self.running.get(trial_id)) is not None:
            self.last_report[trial_id] = time.monotonic()
            self.observer.on_report(cell, result)

    def on_trial_complete(self, trial_id: str) -> None:
        cell = self.running.pop(trial_id)
        self.last_report.pop(trial_id, None)
        folder = self.plan.folder_of(cell)
        folder.download_result()
        is_finished, ray_error = folder.is_finished, self.process_errors.pop(trial_id, "")
        if not is_finished and cell not in self.pruned and self._retry(cell, ray_error):
            return
        if cell.sample is not None:
            score = val_score(folder) if is_finished else math.nan
            self.searches[cell.arm].record_score(cell, score, pruned=not is_finished)
            self._promote(cell.arm)
        elif is_finished:
            self.finished.add(replace(cell, settings=()))
        reason = None
        if not is_finished and cell not in self.pruned:
            failed = replace(cell, settings=()) if cell.sample is None else cell
            reason = self.failed[failed] = self._error_of(cell, ray_error)
        if cell.sample is not None:
            self._write_search(cell.arm)
        self.observer.on_end(cell, error=reason)

    def should_prune(self, trial_id: str, result: dict[str, Any]) -> bool:
        cell = self.running.get(trial_id)
        if cell is None or cell.sample is None or "epoch" not in result:
            return False
        score = result.get("val_score", math.nan)
        if is_pruned := self.searches[cell.arm].should_prune(cell, int(result["epoch"]), score):
            self.pruned.add(cell)
        return is_pruned

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune saves what it runs for a resume of its own, which is not used

    def _start(self, trial_id: str, cell: Cell) -> dict[str, Any]:
        if cell.sample is not None:
            cell = self.searches[cell.arm].cell(cell.fold, cell.sample)
            self.plan.folder.upload_search(cell.arm)
        elif (search := self.searches.get(cell.arm)) is not None:
            best = search.cell(cell.fold, search.best_sample(cell.fold))
            cell = replace(cell, settings=best.settings)
        self.plan.folder_of(cell).error.unlink(missing_ok=True)
        self.running[trial_id] = cell
        self.last_report[trial_id] = time.monotonic()
        self.observer.on_start(cell)
        attempt = self.retries[replace(cell, settings=())]
        return {"cell": {**vars(cell)}, "gpu": self.gpus(cell), "attempt": attempt}

    def _expand(self, cell: Cell) -> list[Cell]:
        """The cell, or its unfinished samples; a search has samples of the first seed only."""
        samples = self._samples_of(cell)
        return [c for c in samples if not self.plan.folder_of(c).is_finished] if samples else [cell]

    def _samples_of(self, cell: Cell) -> list[Cell]:
        search = None if cell.seed else self.searches.get(cell.arm)
        numbers = range(search.num_samples) if search is not None else ()
        return [Cell(cell.arm, cell.fold, number) for number in numbers]

    def _record_samples(self, cell: Cell) -> None:
        """Give a search the scores of its finished samples."""
        for sample in self._samples_of(cell):
            folder, search = self.plan.folder_of(sample), self.searches[cell.arm]
            if folder.is_finished and sample.sample is not None:
                known = search.cell(cell.fold, sample.sample)
                search.record_score(known, val_score(folder), pruned=False)

    def _retry(self, cell: Cell, ray_error: str) -> bool:
        """Queue a lost cell again, at most `MAX_RETRIES` times.

        After one that ran out of memory, half as many cells run at a time.
        """
        reason = describe_loss(ray_error)
        if reason is None or self.plan.folder_of(cell).error.exists():
            return False
        again = replace(cell, settings=())
        self.retries[again] += 1
        if self.retries[again] > MAX_RETRIES:
            return False
        if "memory" in reason:
            self.max_running = max(1, (len(self.running) + 1) // 2)
            reason += f" ({self.max_running} at a time from now on)"
        self.observer.notify(
            f"{cell.name}: {reason}; resuming from its last state "
            f"(retry {self.retries[again]} of {MAX_RETRIES})"
        )
        self.waiting.insert(0, again)
        return True

    def _error_of(self, cell: Cell, ray_error: str) -> str:
        path = self.plan.folder_of(cell).error
        if path.exists() and (lines := path.read_text().strip().splitlines()):
            return lines[-1]
        return find_cell_error(ray_error) or (
            f"its process was lost {MAX_RETRIES + 1} times (killed, or out of memory: "
            f"--set '{cell.arm}.recipe.batch=N' takes less)"
        )

    def _write_search(self, arm: str) -> None:
        failed = [cell for cell in self.failed if cell.arm == arm and cell.sample is not None]
        result = self.searches[arm].result([replace(cell, settings=()) for cell in failed])
        search_result.write(result, self.plan.folder.search_result(arm))
        self.plan.folder.upload_search(arm)

    def _promote(self, arm: str) -> None:
        """Make the best sample the arm's own cell on every fold without unfinished samples.

        Where validation patients train too, the cell is queued to be trained with its settings.
        """
        search = self.searches[arm]
        unfinished = (*self.waiting, *self.running.values())
        samples = [cell for cell in unfinished if cell.arm == arm and cell.sample is not None]
        open_folds = {cell.fold for cell in samples}
        queued = {replace(cell, settings=()) for cell in unfinished}
        if search.over_mean and open_folds:
            return
        for fold in search.folds:
            target = Cell(arm, fold)
            if fold in open_folds or target in (*self.finished, *self.failed, *queued):
                continue
            best = self.plan.folder_of(Cell(arm, fold, search.best_sample(fold)))
            if best.is_finished and search.trains_again:
                self.waiting.insert(0, target)
                continue
            if best.is_finished:
                best.download()
                _copy_cell(best, self.plan.folder_of(target))
                self.plan.folder_of(target).upload()
                self.finished.add(target)
            else:
                self.failed[target] = "no search sample of it finished"
            self.observer.on_end(target, error=self.failed.get(target))


def val_score(folder: CellFolder) -> float:
    cost = json.loads(folder.cost.read_text())
    return float(cost["val_scores"].get("score", math.nan))


def _copy_cell(source: CellFolder, target: CellFolder) -> None:
    """Copy a cell's folder and predictions; the prediction file comes last."""
    shutil.copytree(source.path, target.path, dirs_exist_ok=True)
    aside = target.predictions.with_suffix(".copying")
    shutil.copy2(source.predictions, aside)
    aside.replace(target.predictions)
