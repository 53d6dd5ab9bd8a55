"""The order in which the scheduler suggests cells; the tests call it as Tune does."""

from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from ray.tune.search import Searcher

from lus_ray.experiment import Experiment, Recipe, Rows, Search
from lus_ray.folds import Fold
from lus_ray.monitoring.events import Observer
from lus_ray.orchestration.scheduler import CellScheduler
from lus_ray.runs import search_result
from lus_ray.runs.cell import Cell
from lus_ray.runs.layout import RunFolder
from lus_ray.runs.plan import RunPlan
from lus_ray.runs.prepare import list_cells
from tests.orchestration.cheap_cells import experiment

RAISED = "ray::trial()\nlus_ray.errors.CellError: its labels are gone"


class RecordingObserver(Observer):
    """Records started and blocked cells, and messages."""

    def __init__(self) -> None:
        self.started: list[Cell] = []
        self.blocked: list[Cell] = []
        self.messages: list[str] = []

    def on_start(self, cell: Cell) -> None:
        self.started.append(cell)

    def on_blocked(self, cell: Cell) -> None:
        self.blocked.append(cell)

    def notify(self, text: str) -> None:
        self.messages.append(text)


def make_scheduler(
    chosen: Experiment, out: Path, *, num_folds: int = 1, seeds: int = 1
) -> tuple[CellScheduler, RecordingObserver]:
    observer = RecordingObserver()
    assigned = [Fold(number, (), (), ()) for number in range(num_folds)]
    cells = list_cells(chosen, assigned, seeds=seeds)
    plan = RunPlan(chosen, "smoke", (), (), "", RunFolder(out), cells)
    return CellScheduler(plan, observer, lambda cell: 0.0), observer


def end(scheduler: CellScheduler, trial_id: str, *, error: str = "", score: float = 0.5) -> None:
    cell = scheduler.running[trial_id]
    if error:
        scheduler.process_errors[trial_id] = error
    else:
        folder = scheduler.plan.folder_of(cell)
        for path in (folder.cost, folder.predictions):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f'{{"val_scores": {{"score": {score}}}}}')
    scheduler.on_trial_complete(trial_id)


def test_no_more_cells_start_than_their_workers_fit(tmp_path):
    scheduler, observer = make_scheduler(experiment(6), tmp_path, num_folds=3)
    scheduler.share = lambda cell: 0.5 if cell.arm == "intensity" else 0.0
    assert [bool(scheduler.suggest(name)) for name in "abc"] == [
        True,
        True,
        False,
    ]  # the third fold waits, and its readers too
    end(scheduler, "a")
    assert [bool(scheduler.suggest(name)) for name in "de"] == [True, True]
    assert {cell.fold for cell in observer.started[:2]} == {0, 1}


def test_cells_wait_for_their_inputs_and_follow_in_order(tmp_path):
    scheduler, observer = make_scheduler(experiment(9), tmp_path)
    assert scheduler.suggest("first") is not None
    assert scheduler.suggest("too early") is None
    end(scheduler, "first")
    assert scheduler.suggest("second") is not None
    assert scheduler.suggest("third") is not None
    assert [cell.arm for cell in observer.started] == ["intensity", "prior 0", "prior 1"]


def test_an_input_that_failed_blocks_a_thousand_cells_at_once(tmp_path):
    scheduler, observer = make_scheduler(experiment(3003), tmp_path)
    scheduler.suggest("first")
    end(scheduler, "first", error=RAISED)
    assert scheduler.suggest("next") == Searcher.FINISHED
    assert len(observer.blocked) == len(set(observer.blocked)) == 1000
    assert scheduler.failed[Cell("prior 7", 0)] == "its input intensity/fold0 failed"


@pytest.mark.parametrize("failed", [{0}, {1}, {0, 1}])
def test_an_arm_blocks_its_readers_only_if_all_of_its_samples_failed(tmp_path, failed):
    scheduler, observer = make_scheduler(searched(), tmp_path)
    for sample in (0, 1):
        scheduler.suggest(f"sample {sample}")
    for sample in (0, 1):
        end(scheduler, f"sample {sample}", error=RAISED if sample in failed else "")
    is_finished = scheduler.suggest("reader") == Searcher.FINISHED
    assert is_finished == (failed == {0, 1})
    assert (observer.blocked if is_finished else observer.started)[-1] == Cell("prior 0", 0)
    assert len(observer.blocked) == is_finished
    assert not observer.messages


@pytest.mark.parametrize(
    ("over", "order"),
    [("mean", [(0, 0), (0, 1), (1, 0), (1, 1)]), ("fold", [(0, 0), (1, 0), (0, 1), (1, 1)])],
)
def test_a_search_over_the_mean_finishes_a_sample_before_the_next(tmp_path, over, order):
    scheduler, observer = make_scheduler(searched(over), tmp_path, num_folds=2)
    for number in range(4):
        scheduler.suggest(f"trial {number}")
        end(scheduler, f"trial {number}")
    assert [(cell.sample, cell.fold) for cell in observer.started] == order


def test_a_cell_waits_for_its_inputs_of_the_same_seed(tmp_path):
    scheduler, observer = make_scheduler(experiment(6), tmp_path, seeds=2)
    scheduler.suggest("first")
    scheduler.suggest("second")
    assert scheduler.suggest("too early") is None
    end(scheduler, "second")
    scheduler.suggest("third")
    end(scheduler, "first", error=RAISED)
    assert scheduler.suggest("blocked") is None
    assert [cell.name for cell in observer.started] == [
        "intensity/fold0", "intensity/fold0-seed1", "prior 0/fold0-seed1",
    ]  # fmt: skip
    assert observer.blocked == [Cell("prior 0", 0)]


@pytest.mark.parametrize("is_resumed", [False, True])
def test_other_seeds_use_the_settings_that_the_search_of_the_first_chose(tmp_path, is_resumed):
    chosen = replace(searched(), arms=searched().arms[:1])
    scheduler, observer = make_scheduler(chosen, tmp_path, seeds=1 if is_resumed else 2)
    for number, score in enumerate((0.2, 0.6)):
        scheduler.suggest(f"sample {number}")
        end(scheduler, f"sample {number}", score=score)
    best = observer.started[1].settings
    if is_resumed:
        assert scheduler.suggest("none") == Searcher.FINISHED
        scheduler, observer = make_scheduler(chosen, tmp_path, seeds=2)
    scheduler.suggest("seed 1")
    assert observer.started[-1] == Cell("intensity", 0, settings=best, seed=1)
    assert best
    end(scheduler, "seed 1")
    assert scheduler.suggest("none") == Searcher.FINISHED
    assert scheduler.finished == {Cell("intensity", 0), Cell("intensity", 0, seed=1)}


@pytest.mark.parametrize("is_resumed", [False, True])
def test_an_arm_without_validation_is_trained_again_with_what_the_search_chose(
    tmp_path, is_resumed
):
    first, reader = searched().arms
    chosen = replace(searched(), arms=(replace(first, rows=Rows(with_val=True)), reader))
    scheduler, observer = make_scheduler(chosen, tmp_path)
    for number, score in enumerate((0.2, 0.6)):
        scheduler.suggest(f"sample {number}")
        end(scheduler, f"sample {number}", score=score)
    best = observer.started[1].settings
    if is_resumed:
        scheduler, observer = make_scheduler(chosen, tmp_path)
    scheduler.suggest("again")
    assert observer.started[-1] == Cell("intensity", 0, settings=best)
    assert scheduler.suggest("the reader waits") is None
    end(scheduler, "again")
    scheduler.suggest("reader")
    assert observer.started[-1] == Cell("prior 0", 0)
    (result,) = search_result.read_all(tmp_path, ["intensity"])
    assert [own.is_chosen for own in result.samples] == [False, True]


def searched(over: str = "mean") -> Experiment:
    """Two samples of the first arm, and an arm that reads it."""
    space = {"lr": optuna.distributions.FloatDistribution(0.1, 1.0)}
    first, second = experiment(6).arms
    search = Search(space=space, samples=2, over=over)
    sampled = replace(first, recipe=Recipe(epochs=1, batch=1, lr=1.0), search=search)
    return replace(experiment(6), arms=(sampled, second))
