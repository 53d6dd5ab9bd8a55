"""A campaign: every unfinished cell of an experiment, in processes of the command or on Ray."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from lus_ray.errors import CellError
from lus_ray.monitoring.events import Observers
from lus_ray.monitoring.phase_log import PhaseLog
from lus_ray.monitoring.progress_bar import ProgressBar
from lus_ray.monitoring.status_writer import StatusWriter
from lus_ray.monitoring.tensorboard import TensorBoardWriter
from lus_ray.orchestration.cells import local_run
from lus_ray.orchestration.cells.inputs import is_small
from lus_ray.runs import layout
from lus_ray.runs.layout import RunFolder
from lus_ray.runs.plan import RunPlan, RunRequest
from lus_ray.runs.prepare import prepare, print_note


def run(request: RunRequest, notify: Callable[[str], None] = print_note) -> None:
    """Run the unfinished cells of a request; `notify` gets the lines before the first cell.

    Raises:
        InputError: the data, the folds, the cluster or the run folder do not allow it.
        CellError: cells failed; the others are finished, and the same command tries again.
    """
    with RunFolder.create(request.out).lock():
        with PhaseLog(notify, "selecting clips and folds ...") as log:
            plan = prepare(request, notify=log.notify)
        if not plan.unfinished_cells():
            notify(f"all {len(plan.cells)} cells are already finished")
            return
        if is_small(request, plan):
            with observed(plan, tensorboard=request.tensorboard) as observers:
                failed = local_run.run_cells(plan, observers)
        else:
            from lus_ray.orchestration.cells import tune_run  # imports Ray

            failed = tune_run.run(request, plan, notify)
    if failed:
        names = ", ".join(cell.name for cell in [*failed][:5])
        raise CellError(
            f"{len(failed)} cells failed ({names}): {next(iter(failed.values()))}; see "
            f"{layout.ERROR} below {plan.folder.path / layout.CELLS}, then run the same command "
            "again"
        )


@contextlib.contextmanager
def observed(
    plan: RunPlan, *more: Any, tensorboard: bool, address: str = "local",
    dashboard: str | None = None,
) -> Iterator[Observers]:  # fmt: skip
    """Who watches the campaign: terminal, run folder, TensorBoard, and `more` that start here."""
    folder, cells = plan.folder, plan.cells
    with contextlib.ExitStack() as stack:
        num_finished = len(cells) - len(plan.unfinished_cells())
        recipes = {arm.name: arm.recipe for arm in plan.experiment.arms}
        num_epochs = {name: recipe.epochs for name, recipe in recipes.items() if recipe}
        watching = [
            ProgressBar(len(cells), num_finished, num_epochs=num_epochs),
            StatusWriter(folder, cells, address=address, dashboard=dashboard),
            *more,
            *([TensorBoardWriter(folder)] if tensorboard else []),
        ]
        yield Observers(*map(stack.enter_context, watching))
