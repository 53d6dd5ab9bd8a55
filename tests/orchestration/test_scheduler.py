"""What the schedule hands out and when, without Ray: whoever asks stands in for Tune."""

from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from ray.tune.search import Searcher

from lus_ray.experiment import Experiment, Search
from lus_ray.monitoring.events import Observer
from lus_ray.orchestration.scheduler import CellScheduler
from lus_ray.runs.cell import Cell
from lus_ray.runs.layout import RunFolder
from lus_ray.runs.plan import RunPlan
from tests.orchestration.cheap_cells import experiment

RAISED = "ray::trial()\nlus_ray.errors.CellError: its labels are gone"


class Heard(Observer):
    """A observer that remembers."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Cell]] = []

    def on_start(self, cell: Cell) -> None:
        self.told.append(("started", cell))

    def on_report(self, cell: Cell, values: dict[str, float]) -> None:
        self.told.append(("reported", cell))

    def on_end(self, cell: Cell, *, error: str | None) -> None:
        self.told.append(("ended" if error is None else "failed", cell))

    def on_blocked(self, cell: Cell) -> None:
        self.told.append(("blocked", cell))

    def notify(self, text: str) -> None:
        raise AssertionError(text)

    def cells(self, what: str) -> list[Cell]:
        return [cell for told, cell in self.told if told == what]


def scheduled(chosen: Experiment, out: Path, *, num_folds: int = 1) -> tuple[CellScheduler, Heard]:
    heard = Heard()
    cells = tuple(Cell(arm.name, fold) for arm in chosen.arms for fold in range(num_folds))
    plan = RunPlan(chosen, "smoke", (), (), "", RunFolder(out), cells)
    return CellScheduler(plan, heard, lambda cell: 0.0), heard


def end(schedule: CellScheduler, trial_id: str, *, error: str = "", score: float = 0.5) -> None:
    cell = schedule.running[trial_id]
    if error:
        schedule.ray_errors[trial_id] = error
    else:
        folder = schedule.plan.folder_of(cell)
        for path in (folder.cost, folder.predictions):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f'{{"val_scores": {{"score": {score}}}}}')
    schedule.on_trial_complete(trial_id, error=bool(error))


def test_cells_wait_for_their_inputs_and_follow_in_order(tmp_path):
    schedule, heard = scheduled(experiment(9), tmp_path)
    assert schedule.suggest("first") is not None
    assert schedule.suggest("too early") is None
    end(schedule, "first")
    assert schedule.suggest("second") is not None
    assert schedule.suggest("third") is not None
    assert [cell.arm for cell in heard.cells("started")] == ["intensity", "prior 0", "prior 1"]


def test_an_input_that_failed_blocks_two_thousand_cells_at_once(tmp_path):
    schedule, heard = scheduled(experiment(6003), tmp_path)
    schedule.suggest("first")
    end(schedule, "first", error=RAISED)
    assert schedule.suggest("next") == Searcher.FINISHED
    assert len(heard.cells("blocked")) == len(set(heard.cells("blocked"))) == 2000
    assert schedule.failed[Cell("prior 7", 0)] == "its input intensity/fold0 failed"


@pytest.mark.parametrize("which", [0, 1])
def test_a_sample_that_failed_leaves_the_arm_to_the_others(tmp_path, which):
    schedule, heard = scheduled(searched(), tmp_path)
    for sample in (0, 1):
        schedule.suggest(f"sample {sample}")
    for sample in (0, 1):
        end(schedule, f"sample {sample}", error=RAISED if sample == which else "")
    assert schedule.suggest("reads it") is not None
    assert heard.cells("started")[-1] == Cell("prior 0", 0)
    assert not heard.cells("blocked")


def test_an_arm_whose_samples_all_failed_blocks_what_reads_it(tmp_path):
    schedule, heard = scheduled(searched(), tmp_path)
    for sample in (0, 1):
        schedule.suggest(f"sample {sample}")
    for sample in (0, 1):
        end(schedule, f"sample {sample}", error=RAISED)
    assert schedule.suggest("reads it") == Searcher.FINISHED
    assert heard.cells("blocked") == [Cell("prior 0", 0)]


@pytest.mark.parametrize(
    ("over", "order"),
    [("mean", [(0, 0), (0, 1), (1, 0), (1, 1)]), ("fold", [(0, 0), (1, 0), (0, 1), (1, 1)])],
)
def test_over_the_mean_a_sample_is_known_before_the_next_is_drawn(tmp_path, over, order):
    schedule, heard = scheduled(searched(over), tmp_path, num_folds=2)
    for number in range(4):
        schedule.suggest(f"trial {number}")
        end(schedule, f"trial {number}")
    assert [(cell.sample, cell.fold) for cell in heard.cells("started")] == order


def searched(over: str = "mean") -> Experiment:
    """Two samples of the first arm, and one that reads it."""
    space = {"lr": optuna.distributions.FloatDistribution(0.1, 1.0)}
    first, second = experiment(6).arms
    sampled = replace(first, search=Search(space=space, samples=2, over=over))
    return replace(experiment(6), arms=(sampled, second))
