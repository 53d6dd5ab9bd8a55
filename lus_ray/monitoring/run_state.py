"""A run folder as a grid of arms x folds, quick to read again while it is written.

Each reading lists a folder per arm and one per cell that is not finished; files are opened only
where their time or size changed. What is believed, in this order: a prediction file (finished),
the driver's word with a live beat (running), `error.txt` (failed), starts without a driver
(interrupted).
"""

import math
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from lus_ray.errors import StoreError
from lus_ray.monitoring import left, plan, run_files, status_reader
from lus_ray.monitoring.plan import PlannedArm, RunPlan
from lus_ray.monitoring.run_files import CellFiles, Signature, number
from lus_ray.monitoring.states import STATES, ArmRow, CellState, RunGrid, State
from lus_ray.monitoring.status_reader import CampaignStatus, RunningCell
from lus_ray.runs.layout import FOLDS, RECORD

REFRESH_SECONDS = 10
FRESH_SECONDS = 120
"""Without a driver's word (a run of an earlier version), a cell that wrote lately is running."""


class RunReader:
    """Reads a run folder again and again; several threads may ask.

    `refresh` is called before a reading, every ten seconds at most, where the folder is a copy
    that must be renewed; `name` is then what it is a copy of. A grid younger than `again_s`
    seconds is given again, so that many who ask cost no more than one.

    Raises:
        StoreError: the folder holds no run.
    """

    def __init__(
        self,
        out: Path,
        *,
        refresh: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.time,
        name: str | None = None,
        again_s: float = 0.0,
    ) -> None:
        self.out, self.clock, self.name = out, clock, name or str(out)
        self.refresh, self.refreshed = refresh, -math.inf
        self.again_s = again_s
        self.last: RunGrid | None = None
        self.lock = threading.Lock()
        self.traces: dict[Path, tuple[Signature, CellFiles]] = {}
        self.done: dict[tuple[str, int], tuple[int, CellState]] = {}
        self.signs = CampaignStatus()
        self.plan: tuple[Signature, RunPlan] | None = None
        self.read()

    def read(self) -> RunGrid:
        """The grid as it is now.

        Raises:
            StoreError: the folder holds no run, or no longer does.
        """
        with self.lock:
            now = self.clock()
            if self.refresh is not None and now - self.refreshed >= REFRESH_SECONDS:
                self.refresh()
                self.refreshed = self.clock()
            if self.last is None or not 0 <= now - self.last.now < self.again_s:
                self.last = self._read(now)
            return self.last

    def _read(self, now: float) -> RunGrid:
        wanted = self._plan()
        self.signs = status_reader.read(self.out / "campaign.json", now=now) or self.signs
        states: dict[tuple[str, int], State] = {}
        rows = []
        for arm in wanted.arms:
            finished, samples = _finished(self.out / "predictions" / arm.folder)
            made = []
            for fold in wanted.folds:
                if fold in finished:
                    cell = self._finished(arm, fold, finished[fold], samples.get(fold, 0))
                else:
                    blocked = any(
                        states.get((name, fold)) in ("failed", "blocked") for name in arm.inputs
                    )
                    cell = self._open(arm, fold, now, blocked, samples.get(fold, 0))
                states[arm.name, fold] = cell.state
                made.append(cell)
            rows.append(ArmRow(arm.name, arm.label, arm.baseline, tuple(made)))
        campaign = self.signs.campaign
        if campaign.state == "unknown" and set(states.values()) == {"finished"}:
            campaign = replace(campaign, state="finished")
        kinds = {arm.name: arm.kind for arm in wanted.arms}
        each = list(states.values())
        return RunGrid(
            experiment=wanted.experiment,
            title=wanted.title,
            size=wanted.size,
            out=self.name,
            folds=wanted.folds,
            arms=tuple(rows),
            campaign=campaign,
            now=now,
            left_s=left.left_s(rows, kinds, now=now),
            has_report=(self.out / "report.html").exists(),
            counts={state: each.count(state) for state in STATES},
        )

    def _plan(self) -> RunPlan:
        """The plan, read again where its files changed; a newer one cut short waits."""
        seen = []
        for name in (RECORD, FOLDS):
            try:
                stat = (self.out / name).stat()
                seen.append((name, stat.st_mtime_ns, stat.st_size))
            except OSError as error:
                raise StoreError(
                    f"{self.name}: no {name} here; name a folder that 'lus run ... --out' wrote"
                ) from error
        if self.plan is None or self.plan[0] != tuple(seen):
            self.plan = tuple(seen), plan.read(self.out)
        return self.plan[1]

    def _finished(self, arm: PlannedArm, fold: int, stamp: int, num_samples: int) -> CellState:
        """A finished cell, read once: it never changes but with its prediction file."""
        known = self.done.get((arm.name, fold))
        if known is not None and known[0] == stamp:
            return known[1]
        folder = self.out / "cells" / arm.folder / f"fold{fold}"
        traces = run_files.read(folder, run_files.signature(folder)[0])
        scores = traces.cost.get("val_scores")
        score = number(scores.get("score")) if isinstance(scores, dict) else None
        cell = _state(arm, fold, "finished", traces, folder, num_samples, score=score)
        self.traces.pop(folder, None)
        self.done[arm.name, fold] = stamp, cell
        return cell

    def _open(
        self, arm: PlannedArm, fold: int, now: float, blocked: bool, num_samples: int
    ) -> CellState:
        """A cell without predictions: what it left so far, and what the driver says of it."""
        name, folder = f"{arm.name}/fold{fold}", self.out / "cells" / arm.folder / f"fold{fold}"
        running = self.signs.running if self.signs.campaign.is_live else {}
        own, samples = run_files.signature(folder)
        traces = self._traces(folder, own)
        if arm.num_samples:
            each = {
                s: self._traces(folder / s, run_files.signature(folder / s)[0]) for s in samples
            }
            shown = [each[s] for s in each if f"{name}/{s.removeprefix('sample')}" in running]
            latest = max(shown or each.values(), key=lambda t: t.touched, default=traces)
            traces = traces if traces.error else latest
        told = [running[n] for n in (name, *(f"{name}/{s[6:]}" for s in samples)) if n in running]
        last = max(told, key=lambda r: r.since, default=None)
        state = self._judge(name, arm, traces, last, now, blocked)
        error = traces.error or self.signs.failed.get(name)
        return _state(arm, fold, state, traces, folder, num_samples, last=last, error=error)

    def _judge(
        self, name: str, arm: PlannedArm, traces: CellFiles, last: RunningCell | None, now: float,
        blocked: bool,
    ) -> State:  # fmt: skip
        campaign = self.signs.campaign
        failed_now = traces.error is not None and not arm.num_samples
        if last is not None:
            return "failed" if failed_now and traces.failed_at > last.since else "running"
        if name in self.signs.failed:
            return "failed"
        if failed_now:
            tries_again = campaign.is_live and traces.failed_at < (campaign.began or 0.0)
            return "waiting" if tries_again else "failed"
        if blocked:
            return "blocked"
        begun = traces.has_begun or name in self.signs.running
        if campaign.is_live or not begun:
            return "waiting"
        unheard = campaign.state == "unknown" and now - traces.touched < FRESH_SECONDS
        return "running" if unheard else "interrupted"

    def _traces(self, folder: Path, seen: Signature) -> CellFiles:
        known = self.traces.get(folder)
        if known is None or known[0] != seen:
            known = self.traces[folder] = seen, run_files.read(folder, seen)
        return known[1]


def _state(
    arm: PlannedArm, fold: int, state: State, traces: CellFiles, folder: Path, num_samples: int, *,
    score: float | None = None, last: RunningCell | None = None, error: str | None = None,
) -> CellState:  # fmt: skip
    score = score if score is not None else traces.last_score
    num_epochs = traces.num_epochs
    if last is not None and last.num_epochs > num_epochs:  # the folder may be an older copy
        num_epochs, score = last.num_epochs, last.score
    begins = [r.since for r in (last, traces) if r is not None and r.since is not None]
    return CellState(
        fold=fold,
        state=state,
        num_epochs=num_epochs,
        planned=arm.planned,
        score=score,
        curve=traces.curve,
        curve_of=traces.curve_of,
        since=max(begins, default=None),
        seconds=number(traces.cost.get("wall_s")) if state == "finished" else None,
        node=traces.node,
        num_starts=len(traces.starts),
        error=error,
        samples=(num_samples, arm.num_samples) if arm.num_samples else None,
        path=f"cells/{arm.folder}/{folder.name}",
    )


def _finished(folder: Path) -> tuple[dict[int, int], dict[int, int]]:
    """Finished folds of an arm with the time of their file, and finished samples of each fold."""
    folds: dict[int, int] = {}
    samples: dict[int, int] = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                name, _, kind = entry.name.partition(".")
                if name.startswith("fold") and kind == "parquet" and name[4:].isdecimal():
                    folds[int(name[4:])] = entry.stat().st_mtime_ns
        for path in (folder / "samples").glob("fold*-*.parquet"):
            fold = path.stem.removeprefix("fold").partition("-")[0]
            if fold.isdecimal():
                samples[int(fold)] = samples.get(int(fold), 0) + 1
    except OSError:
        pass
    return folds, samples
