"""A run folder as a grid of arms x folds (and seeds), fast to read again while it is written.

Each reading lists one folder per arm and one per unfinished cell, and opens only changed files. In
this order, a cell is finished (prediction file), running (named by a live driver), failed
(`error.txt`) or interrupted (started, but no driver).
"""

import math
import os
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from lus_ray.errors import StoreError
from lus_ray.monitoring.run_files import (
    CellFiles,
    FileVersions,
    PlannedArm,
    PlannedRun,
    finite_number,
    read_cell_files,
    read_plan,
    stat_cell_files,
)
from lus_ray.monitoring.states import STATES, ArmRow, CellState, RunGrid, State
from lus_ray.monitoring.status_reader import CampaignStatus, RunningCell, read_status
from lus_ray.runs.cell import Cell
from lus_ray.runs.layout import FOLDS, MANIFEST, REPORTS, STATUS, RunFolder

REFRESH_SECONDS = 10
RECENT_SECONDS = 120
"""Without campaign.json (older runs), a cell with more recent files is running."""


class RunReader:
    """Reads a run folder repeatedly; safe to share between threads.

    `refresh` renews a folder that is a copy of `name`, at most every 10 s. A grid younger than
    `max_age_s` is returned again. Raises StoreError where the folder holds no run.
    """

    def __init__(
        self,
        out: Path,
        *,
        refresh: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.time,
        name: str | None = None,
        max_age_s: float = 0.0,
    ) -> None:
        self.out, self.run, self.name = out, RunFolder(out), name or str(out)
        self.clock, self.max_age_s = clock, max_age_s
        self.refresh, self.last_refresh = refresh, -math.inf
        self.last: RunGrid | None = None
        self.lock = threading.Lock()
        self.files: dict[Path, tuple[FileVersions, CellFiles]] = {}
        self.finished: dict[Cell, tuple[int, CellState]] = {}
        self.status = CampaignStatus()
        self.plan: tuple[FileVersions, PlannedRun] | None = None
        self.read()

    def read(self) -> RunGrid:
        """The grid as it is now; raises StoreError if the folder no longer holds a run."""
        with self.lock:
            now = self.clock()
            if self.refresh is not None and now - self.last_refresh >= REFRESH_SECONDS:
                self.refresh()
                self.last_refresh = self.clock()
            if self.last is None or not 0 <= now - self.last.now < self.max_age_s:
                self.last = self._read(now)
            return self.last

    def _read(self, now: float) -> RunGrid:
        plan = self._read_plan()
        self.status = read_status(self.out / STATUS, now=now) or self.status
        states: dict[Cell, State] = {}
        columns = [(fold, seed) for seed in range(plan.seeds) for fold in plan.folds]
        rows = []
        for arm in plan.arms:
            finished, samples = _list_finished(self.run.predictions_of(arm.name))
            cells = []
            for fold, seed in columns:
                cell = Cell(arm.name, fold, seed=seed)
                num_samples = 0 if seed else samples.get(fold, 0)
                if cell.fold_name in finished:
                    state = self._finished_cell(arm, cell, finished[cell.fold_name], num_samples)
                else:
                    inputs = [cell.input(name) for name in arm.inputs]
                    inputs += [Cell(arm.name, fold)] if seed and arm.num_samples else []
                    is_blocked = any(states.get(i) in ("failed", "blocked") for i in inputs)
                    state = self._unfinished_cell(arm, cell, now, is_blocked, num_samples)
                states[cell] = state.state
                cells.append(state)
            rows.append(ArmRow(arm.name, arm.label, arm.baseline, tuple(cells)))
        campaign = self.status.campaign
        if campaign.state == "unknown" and set(states.values()) == {"finished"}:
            campaign = replace(campaign, state="finished")
        kinds = {arm.name: arm.kind for arm in plan.arms}
        every_state = list(states.values())
        return RunGrid(
            experiment=plan.experiment,
            title=plan.title,
            size=plan.size,
            out=self.name,
            folds=plan.folds,
            arms=tuple(rows),
            campaign=campaign,
            now=now,
            left_s=estimate_remaining_s(rows, kinds, now=now),
            has_report=(self.out / REPORTS[0]).exists(),
            seeds=plan.seeds,
            counts={state: every_state.count(state) for state in STATES},
        )

    def _read_plan(self) -> PlannedRun:
        versions = []
        for name in (MANIFEST, FOLDS):
            try:
                stat = (self.out / name).stat()
                versions.append((name, stat.st_mtime_ns, stat.st_size))
            except OSError as error:
                raise StoreError(
                    f"{self.name}: no {name} here; name a folder that 'lus run ... --out' wrote"
                ) from error
        if self.plan is None or self.plan[0] != tuple(versions):
            self.plan = tuple(versions), read_plan(self.out)
        return self.plan[1]

    def _finished_cell(
        self, arm: PlannedArm, cell: Cell, mtime_ns: int, num_samples: int
    ) -> CellState:
        known = self.finished.get(cell)
        if known is not None and known[0] == mtime_ns:
            return known[1]
        folder = self.run.cell(cell).path
        files = read_cell_files(folder, stat_cell_files(folder)[0])
        scores = files.cost.get("val_scores")
        score = finite_number(scores.get("score")) if isinstance(scores, dict) else None
        state = _cell_state(arm, cell, "finished", files, folder, num_samples, score=score)
        self.files.pop(folder, None)
        self.finished[cell] = mtime_ns, state
        return state

    def _unfinished_cell(
        self, arm: PlannedArm, cell: Cell, now: float, is_blocked: bool, num_samples: int
    ) -> CellState:
        arm = replace(arm, num_samples=0) if cell.seed else arm  # a search uses the first seed
        name, folder = cell.name, self.run.cell(cell).path
        running = self.status.running if self.status.campaign.is_live else {}
        versions, samples = stat_cell_files(folder)
        files = self._read_files(folder, versions)
        names = {sample: f"{name}/{sample.removeprefix('sample')}" for sample in samples}
        if arm.num_samples:
            of_samples = {
                s: self._read_files(folder / s, stat_cell_files(folder / s)[0]) for s in samples
            }
            active = [of_samples[s] for s in samples if names[s] in running]
            latest = max(active or (files, *of_samples.values()), key=lambda f: f.touched)
            files = files if files.error else latest
        starts = [running[n] for n in (name, *names.values()) if n in running]
        last = max(starts, key=lambda start: start.since, default=None)
        state = self._state(name, arm, files, last, now, is_blocked)
        error = files.error or self.status.failed.get(name)
        return _cell_state(arm, cell, state, files, folder, num_samples, last=last, error=error)

    def _state(
        self, name: str, arm: PlannedArm, files: CellFiles, last: RunningCell | None, now: float,
        is_blocked: bool,
    ) -> State:  # fmt: skip
        campaign = self.status.campaign
        has_error = files.error is not None and not arm.num_samples
        if last is not None:
            return "failed" if has_error and files.failed_at > last.since else "running"
        if name in self.status.failed:
            return "failed"
        if has_error:
            is_retried = campaign.is_live and files.failed_at < (campaign.began or 0.0)
            return "waiting" if is_retried else "failed"
        if is_blocked:
            return "blocked"
        if campaign.is_live or not (files.has_begun or name in self.status.running):
            return "waiting"
        is_recent = campaign.state == "unknown" and now - files.touched < RECENT_SECONDS
        return "running" if is_recent else "interrupted"

    def _read_files(self, folder: Path, versions: FileVersions) -> CellFiles:
        known = self.files.get(folder)
        if known is None or known[0] != versions:
            known = self.files[folder] = versions, read_cell_files(folder, versions)
        return known[1]


def estimate_remaining_s(
    arms: Sequence[ArmRow], kinds: Mapping[str, str], *, now: float
) -> float | None:
    """Seconds until the last running or waiting cell is finished, with as many at a time as now.

    A cell with finished epochs continues at its pace; another takes the mean of its arm, else of
    arms of the same kind (`kinds`, by arm), else of all. None if no cell runs or nothing is known.
    """
    known: dict[tuple[str, str], list[float]] = defaultdict(list)
    for arm in arms:
        for cell in arm.cells:
            if cell.state == "finished" and cell.seconds is not None:
                for key in _groups(arm, kinds):
                    known[key].append(cell.seconds)
    means = {key: sum(seconds) / len(seconds) for key, seconds in known.items()}
    total_s, num_running = 0.0, 0
    for arm in arms:
        for cell in arm.cells:
            if cell.state not in ("running", "waiting"):
                continue
            mean = next((means[key] for key in _groups(arm, kinds) if key in means), None)
            remaining_s = _remaining_s(cell, mean, now)
            if remaining_s is None:
                return None
            total_s += remaining_s
            num_running += cell.state == "running"
    return total_s / num_running if num_running else None


def _groups(arm: ArmRow, kinds: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return ("arm", arm.name), ("kind", kinds.get(arm.name, "")), ("all", "")


def _remaining_s(cell: CellState, mean: float | None, now: float) -> float | None:
    if cell.state == "waiting" or cell.since is None:
        return mean
    spent = max(0.0, now - cell.since)
    if cell.planned and 0 < cell.num_epochs <= cell.planned:
        return spent * (cell.planned - cell.num_epochs) / cell.num_epochs
    return None if mean is None else max(0.0, mean - spent)


def _cell_state(
    arm: PlannedArm, cell: Cell, state: State, files: CellFiles, folder: Path, num_samples: int, *,
    score: float | None = None, last: RunningCell | None = None, error: str | None = None,
) -> CellState:  # fmt: skip
    score = score if score is not None else files.last_score
    num_epochs = files.num_epochs
    if last is not None and last.num_epochs > num_epochs:  # the folder may be an older copy
        num_epochs, score = last.num_epochs, last.score
    starts = [start.since for start in (last, files) if start and start.since is not None]
    return CellState(
        fold=cell.fold,
        state=state,
        seed=cell.seed,
        num_epochs=num_epochs,
        planned=arm.planned,
        score=score,
        curve=files.curve,
        curve_of=files.curve_of,
        since=max(starts, default=None),
        seconds=finite_number(files.cost.get("wall_s")) if state == "finished" else None,
        node=files.node,
        num_starts=len(files.starts),
        error=error,
        samples=(num_samples, arm.num_samples) if arm.num_samples else None,
        path=f"cells/{arm.folder}/{folder.name}",
    )


def _list_finished(folder: Path) -> tuple[dict[str, int], dict[int, int]]:
    """Finished cells of an arm (`fold_name`) with their file's mtime; finished samples by fold."""
    cells: dict[str, int] = {}
    samples: dict[int, int] = defaultdict(int)
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if match := re.fullmatch(r"(fold\d+(-seed\d+)?)\.parquet", entry.name):
                    cells[match[1]] = entry.stat().st_mtime_ns
        for path in (folder / "samples").glob("fold*-*.parquet"):
            if match := re.match(r"fold(\d+)-", path.name):
                samples[int(match[1])] += 1
    except OSError:
        pass
    return cells, samples
