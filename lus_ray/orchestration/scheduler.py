"""What runs next: cells whose inputs exist, handed to Tune one by one as a search algorithm.

Why a searcher: Tune asks it for the next trial whenever there is room and tells it of every end,
so that one campaign runs all ready cells in parallel and goes on as inputs appear.
"""

import json
import math
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from lus_ray.monitoring.events import Observer
from lus_ray.orchestration.failures import MAX_RETRIES, describe_loss, find_cell_error
from lus_ray.orchestration.hyperparameter_search import ArmSearch
from lus_ray.runs import sync
from lus_ray.runs.cell import Cell, Work


class Schedule(Searcher):
    """Hands out cells in order, each once its inputs are finished; nothing finished runs again.

    A cell whose process or machine is lost is handed out again and goes on from its last state;
    one that raised an error has failed.
    """

    def __init__(
        self, cells: Sequence[Cell], work: Work, observer: Observer, gpus: Callable[[Cell], float]
    ) -> None:
        super().__init__(metric="finished", mode="max")
        self.work, self.observer, self.gpus = work, observer, gpus
        self.inputs = {arm.name: arm.inputs for arm in work.experiment.arms}
        folds = sorted({cell.fold for cell in cells})
        self.searches = {
            arm.name: ArmSearch(arm, folds, work.out, seed=work.experiment.seed)
            for arm in work.experiment.arms
            if arm.search is not None and arm.search.samples > 0
        }
        self.finished = {(c.arm, c.fold) for c in cells if c.finished(work.out)}
        self.failed: dict[Cell, str] = {}
        missing = [cell for cell in cells if (cell.arm, cell.fold) not in self.finished]
        self.waiting: list[tuple[Cell, bool]] = []
        for arm, of_arm in groupby(missing, key=lambda cell: cell.arm):
            expanded = [entry for cell in of_arm for entry in self._expand(cell)]
            if arm in self.searches and self.searches[arm].over_mean:
                # A sample is known when all of its folds are, and the next one is drawn from it.
                expanded.sort(key=lambda entry: entry[0].sample or 0)
            self.waiting += expanded
        self.running: dict[str, Cell] = {}
        self.heard: dict[str, float] = {}
        self.pruned: set[Cell] = set()
        self.deaths: Counter[tuple[str, int, int | None]] = Counter()
        self.why: dict[str, str] = {}
        self.most: int | None = None
        for name in self.searches:
            self._promote(name)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next ready cell; None while inputs are still being made."""
        if self.most is not None and len(self.running) >= self.most:
            return None
        place = 0
        while place < len(self.waiting):
            cell, is_sample = self.waiting[place]
            if is_sample and self.searches[cell.arm].gave_up(cell):
                self.waiting.pop(place)
                self._promote(cell.arm)
                place = 0  # what waited for the arm may be ready now
            elif (blocked := self._blocked(cell)) is not None:
                self.waiting.pop(place)
                self._block(Cell(cell.arm, cell.fold), blocked)
            elif self._ready(cell):
                self.waiting.pop(place)
                return self._handed_out(trial_id, cell, is_sample)
            else:
                place += 1
        return None if self.running else Searcher.FINISHED

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Pass an epoch on to whoever watches."""
        if (cell := self.running.get(trial_id)) is not None:
            self.heard[trial_id] = time.monotonic()
            self.observer.on_report(cell, result)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """A cell ended: what waits for it may begin."""
        cell = self.running.pop(trial_id)
        self.heard.pop(trial_id, None)
        sync.fetch_result(cell, self.work)
        done = cell.finished(self.work.out)
        why = self.why.pop(trial_id, "")
        if not done and cell not in self.pruned and self._again(cell, why):
            return
        if cell.sample is not None:
            self._sample_ended(cell, done=done)
        elif done:
            self.finished.add((cell.arm, cell.fold))
        if not done and cell not in self.pruned:
            self._fail(cell, self._error(cell, why))
        else:
            self.observer.on_end(cell, error=None)

    def hopeless(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether a search gives up on this cell now."""
        cell = self.running.get(trial_id)
        if cell is None or cell.sample is None or "epoch" not in result:
            return False
        search = self.searches[cell.arm]
        if search.hopeless(cell, int(result["epoch"]), result.get("val_score", math.nan)):
            self.pruned.add(cell)
            return True
        return False

    def __getstate__(self) -> dict[str, Any]:
        """Tune writes its parts down for its own resume, which we do not use."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing to keep: the run folder says what is finished."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing to keep."""

    def _handed_out(self, trial_id: str, cell: Cell, is_sample: bool) -> dict[str, Any]:
        """What the trial of a cell is told."""
        if is_sample:
            assert cell.sample is not None
            cell = self.searches[cell.arm].cell(cell.fold, cell.sample)
            sync.bring_search(cell.arm, self.work)
        (cell.folder(self.work.out) / "error.txt").unlink(missing_ok=True)
        self.running[trial_id] = cell
        self.heard[trial_id] = time.monotonic()
        self.observer.on_start(cell)
        fields = ("arm", "fold", "sample", "settings")
        return {"cell": {name: getattr(cell, name) for name in fields}, "gpu": self.gpus(cell)}

    def _expand(self, cell: Cell) -> list[tuple[Cell, bool]]:
        search = self.searches.get(cell.arm)
        if search is None:
            return [(cell, False)]
        assert search.search is not None
        samples = [Cell(cell.arm, cell.fold, n) for n in range(search.search.samples)]
        left = []
        for sample in samples:
            if sample.finished(self.work.out):
                known = search.cell(sample.fold, sample.sample or 0)
                search.tell(known, val_score(sample, self.work.out), pruned=False)
            else:
                left.append((sample, True))
        return left

    def _inputs(self, cell: Cell) -> list[tuple[str, int]]:
        return [(name, cell.fold) for name in self.inputs[cell.arm]]

    def _ready(self, cell: Cell) -> bool:
        return all(key in self.finished for key in self._inputs(cell))

    def _blocked(self, cell: Cell) -> str | None:
        for arm, fold in self._inputs(cell):
            if Cell(arm, fold) in self.failed:
                return f"its input {arm}/fold{fold} failed"
        return None

    def _block(self, cell: Cell, why: str) -> None:
        """Once for all samples of a cell, and for what waits for it in turn."""
        if cell not in self.failed:
            self.failed[cell] = why
            self.observer.on_blocked(cell)

    def _again(self, cell: Cell, why: str) -> bool:
        """Queue a cell again that was lost with its process, as often as that is allowed.

        After one that ran out of memory, half as many cells run at a time.
        """
        reason = describe_loss(why)
        if reason is None or (cell.folder(self.work.out) / "error.txt").exists():
            return False
        key = (cell.arm, cell.fold, cell.sample)
        self.deaths[key] += 1
        if self.deaths[key] > MAX_RETRIES:
            return False
        if "memory" in reason:
            self.most = max(1, (len(self.running) + 1) // 2)
            reason += f" ({self.most} at a time from now on)"
        self.observer.notify(
            f"{cell.name}: {reason}; again from its last state "
            f"({self.deaths[key]} of {MAX_RETRIES} times)"
        )
        self.waiting.insert(0, (Cell(*key), cell.sample is not None))
        return True

    def _fail(self, cell: Cell, error: str) -> None:
        self.failed[cell] = error
        self.observer.on_end(cell, error=error)

    def _error(self, cell: Cell, why: str) -> str:
        path = cell.folder(self.work.out) / "error.txt"
        if path.exists() and (lines := path.read_text().strip().splitlines()):
            return lines[-1]
        return find_cell_error(why) or (
            f"its process was lost {MAX_RETRIES + 1} times (killed, or out of memory: "
            f"--set '{cell.arm}.recipe.batch=N' takes less)"
        )

    def _sample_ended(self, cell: Cell, *, done: bool) -> None:
        score = val_score(cell, self.work.out) if done else math.nan
        self.searches[cell.arm].tell(cell, score, pruned=not done)
        sync.bring_search(cell.arm, self.work)
        self._promote(cell.arm)

    def _promote(self, arm: str) -> None:
        """Make the best sample the arm's own cell on every fold that has no sample left to run."""
        search = self.searches[arm]
        left = {c.fold for c, _ in self.waiting if c.arm == arm}
        left |= {c.fold for c in self.running.values() if c.arm == arm}
        if search.over_mean and left:
            return
        for fold in search.folds:
            target = Cell(arm, fold)
            if fold in left or (arm, fold) in self.finished or target in self.failed:
                continue
            best = Cell(arm, fold, search.best(fold))
            if best.finished(self.work.out):
                sync.fetch_whole(best, self.work)
                _adopt(best, target, self.work.out)
                sync.bring_whole(target, self.work)
                self.finished.add((arm, fold))
                self.observer.on_end(target, error=None)
            else:
                self._fail(target, "no search sample of it finished")


def _adopt(best: Cell, target: Cell, out: Path) -> None:
    """Copy a sample's folder and predictions; the prediction file comes last."""
    for entry in best.folder(out).iterdir():
        place = target.folder(out) / entry.name
        if entry.is_dir():
            shutil.copytree(entry, place, dirs_exist_ok=True)
        else:
            shutil.copy2(entry, place)
    aside = target.predictions(out).with_suffix(".copying")
    shutil.copy2(best.predictions(out), aside)
    aside.replace(target.predictions(out))


class Pruning(FIFOScheduler):
    """First come, first served; a sample without hope is stopped."""

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        self.schedule = schedule

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Asked by Tune after every epoch."""
        stop = self.schedule.hopeless(trial.trial_id, result)
        return TrialScheduler.STOP if stop else TrialScheduler.CONTINUE

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """Told by Tune just before the searcher hears of the end: keep what Ray says of it."""
        super().on_trial_error(tune_controller, trial)
        path = Path(trial.error_file or "")
        if path.is_file():
            self.schedule.why[trial.trial_id] = path.read_text(errors="replace")


def val_score(cell: Cell, out: Path) -> float:
    """The validation score that a finished cell left behind."""
    cost = json.loads((cell.folder(out) / "cost.json").read_text())
    return float(cost["val_scores"].get("score", math.nan))
