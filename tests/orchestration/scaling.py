"""What a campaign costs its driver, from ten cells to two thousand of the cheapest there are.

    python -m tests.orchestration.scaling --cells 10,100,500,2000 --profile
    python -m tests.orchestration.scaling --ours                  what of it is not Ray's

No cell learns more than which answer is frequent, so that nearly all of it is scheduling.
"""

import cProfile
import io
import math
import os
import pstats
import tempfile
import time
from collections import deque
from functools import partial
from itertools import count, islice
from pathlib import Path

import click
import ray

from experiments.biomarkers import EXPERIMENT
from lus_ray.data.ingest.pipeline import ingest
from lus_ray.data.transforms.view import View
from lus_ray.experiment import Arm, Experiment
from lus_ray.monitoring.events import Observers
from lus_ray.monitoring.progress_bar import ProgressBar
from lus_ray.monitoring.status_writer import StatusWriter
from lus_ray.orchestration import campaign
from lus_ray.orchestration.cluster import connection
from lus_ray.orchestration.scheduler import CellScheduler
from lus_ray.runs.cell import Cell
from lus_ray.runs.layout import RunFolder
from lus_ray.runs.plan import RunPlan, RunRequest
from lus_ray.tasks import Expert, IntensityFeatures

VIEW = View(num_frames=1, height=24, width=32)
NUM_CPUS = 2


def experiment(num_cells: int) -> Experiment:
    """So many cells on three folds: pixel means, and arms that answer with what is frequent."""
    folds = EXPERIMENT.at("smoke").folds
    prior = partial(Expert, kind="prior", label="severity", inputs="features")
    means = Arm("intensity", partial(IntensityFeatures, view=VIEW))
    priors = (Arm(f"prior {n}", prior, label="severity", reads="intensity") for n in count())
    arms = (means, *islice(priors, math.ceil(num_cells / 3) - 1))
    return Experiment("scaling", "Scaling", folds, arms, ("auc",))


def measured(num_cells: int, *, data: Path, profile: cProfile.Profile | None) -> str:
    """Run one campaign; its figures a cell, as text."""
    out = Path(tempfile.mkdtemp(prefix=f"scaling-{num_cells}-"))
    began, spent = time.monotonic(), time.process_time()
    if profile is not None:
        profile.enable()
    campaign.run(RunRequest(experiment(num_cells), data=data, out=out, size="smoke"))
    if profile is not None:
        profile.disable()
    wall, cpu = time.monotonic() - began, time.process_time() - spent
    return _row(len(list(out.glob("predictions/*/fold*.parquet"))), wall, cpu)


def ours(num_cells: int, *, profile: cProfile.Profile | None) -> str:
    """What the schedule and who watches it take alone: every cell ends as soon as it is begun."""
    out = Path(tempfile.mkdtemp(prefix=f"scaling-{num_cells}-"))
    chosen, folder = experiment(num_cells), RunFolder(out)
    cells = tuple(Cell(arm.name, fold) for arm in chosen.arms for fold in range(3))
    for cell in cells:
        folder.cell(cell).predictions.parent.mkdir(parents=True, exist_ok=True)
    began, spent = time.monotonic(), time.process_time()
    if profile is not None:
        profile.enable()
    with ProgressBar(len(cells), 0) as shown, StatusWriter(folder, cells) as signs:
        observers = Observers(shown, signs)
        plan = RunPlan(chosen, "smoke", (), (), "", folder, cells)
        schedule = CellScheduler(plan, observers, lambda _: 0.0)
        running: deque[str] = deque()
        for number in count():
            trial_id = f"trial {number}"
            if not isinstance(schedule.suggest(trial_id), dict) and not running:
                break
            if trial_id in schedule.running:
                running.append(trial_id)
            if len(running) == NUM_CPUS or trial_id not in schedule.running:
                ended = running.popleft()
                schedule.on_trial_result(ended, {"epoch": 0, "val_score": 0.5})
                folder.cell(schedule.running[ended]).predictions.touch()
                schedule.on_trial_complete(ended)
    if profile is not None:
        profile.disable()
    return _row(len(schedule.finished), time.monotonic() - began, time.process_time() - spent)


def _row(num: int, wall: float, cpu: float) -> str:
    return f"{num:>6}{wall:>10.1f}{1e3 * wall / num:>14.1f}{cpu:>12.1f}{1e3 * cpu / num:>16.1f}"


def top(profile: cProfile.Profile, num: int = 25) -> str:
    """The functions in which the driver spent the most time itself, and with what they call."""
    text = io.StringIO()
    stats = pstats.Stats(profile, stream=text)
    stats.sort_stats("tottime").print_stats(num)
    stats.sort_stats("cumtime").print_stats("lus_ray|tune", num)
    return text.getvalue()


@click.command()
@click.option("--cells", default="10,100,500,2000", show_default=True)
@click.option("--ours", "alone", is_flag=True, help="Without Ray.")
@click.option("--profile", is_flag=True, help="Say where the driver spent its time in the last.")
def main(cells: str, alone: bool, profile: bool) -> None:
    """Print one row a campaign."""
    numbers = [int(number) for number in cells.split(",")]
    each = ours if alone else partial(measured, data=_cluster())
    click.echo(" cells    wall s  wall ms/cell    driver s  driver ms/cell")
    last = cProfile.Profile() if profile else None
    for number in numbers:
        click.echo(each(number, profile=last if number == numbers[-1] else None))
    if last is not None:
        click.echo(top(last))


def _cluster() -> Path:
    """A cluster of this process, and a store of tiny clips."""
    os.environ.update(connection.QUIET)
    data = Path(tempfile.mkdtemp()) / "store"
    ingest("phantom", None, data, patients=8, clips=1, frames=2, size=64, masks="none")
    ray.init(address="local", num_cpus=NUM_CPUS, include_dashboard=False, logging_level="ERROR")
    return data


if __name__ == "__main__":
    main()
