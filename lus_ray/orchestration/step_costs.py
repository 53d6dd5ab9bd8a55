"""The step costs of an experiment's networks: counted, or measured when a campaign starts.

Measured before the first cell starts, as nothing else then holds the GPUs, and kept in the run
folder (`steps.json`), so that all cells of an arm have the same workers also after a resume.
"""

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace

import ray
import torch

from lus_ray.data.transforms.view import View
from lus_ray.experiment import Arm, Experiment
from lus_ray.nets import PositionPrior
from lus_ray.orchestration.cluster.resources import Cluster
from lus_ray.runs.layout import STEPS, RunFolder
from lus_ray.storage.files import write_text
from lus_ray.study_files import StudyFile
from lus_ray.training.description import describe
from lus_ray.training.step_cost import StepCost, count_step, measure_step

WAIT_S = 300.0
"""Seconds to wait for measurements; counted costs replace those that are not done."""

StepCosts = Mapping[str, StepCost]
"""By arm; without arms that run no network on frames."""


def count_steps(experiment: Experiment) -> dict[str, StepCost]:
    counted: dict[str, StepCost | None] = {}
    costs = {}
    for arm in experiment.arms:
        if not uses_gpu(arm):
            continue
        key = _key(arm)
        if key not in counted:
            counted[key] = _count(arm)
        if (cost := counted[key]) is not None:
            costs[arm.name] = cost
    return costs


def measure_steps(
    experiment: Experiment, arms: Sequence[str], cluster: Cluster, folder: RunFolder,
    notify: Callable[[str], None],
) -> dict[str, StepCost]:  # fmt: skip
    """The costs of all arms, those of the named ones measured if a node that is up has a GPU."""
    notify("counting the steps of the networks, for workers and shares of the GPUs ...")
    costs, known = count_steps(experiment), read_steps(folder)
    costs |= {n: known[n] for n, cost in costs.items() if n in known and _fits(known[n], cost)}
    chosen = [experiment.arm(name) for name in arms if name in costs]
    todo = {_key(arm): arm for arm in reversed(chosen) if not costs[arm.name].measured}
    if not todo or not any(node.count_workers(1.0) for node in cluster.nodes):
        return costs
    notify(f"measuring a training step of {len(todo)} networks on a GPU ...")
    measure = ray.remote(num_cpus=1, num_gpus=1, max_retries=0)(_measure)
    file = experiment.file
    pending = {measure.remote(file, arm, costs[arm.name]): key for key, arm in todo.items()}
    done, late = ray.wait(list(pending), num_returns=len(pending), timeout=WAIT_S)
    for task in late:
        ray.cancel(task, force=True)
    measured = {}
    for task in done:
        try:
            measured[pending[task]] = ray.get(task)
        except ray.exceptions.RayError as error:  # such as a batch that does not fit the memory
            last_line = str(error).strip().splitlines()[-1]
            notify(f"note: {todo[pending[task]].name}: its step was not measured: {last_line}")
    costs |= {arm.name: measured[_key(arm)] for arm in chosen if _key(arm) in measured}
    kept = {name: asdict(cost) for name, cost in {**known, **costs}.items() if cost.measured}
    write_text(folder.path / STEPS, json.dumps(kept, indent=1) + "\n")
    folder.upload(STEPS)
    return costs


def read_steps(folder: RunFolder) -> dict[str, StepCost]:
    """Costs measured earlier; none where the file is of another version."""
    try:
        contents = json.loads((folder.path / STEPS).read_text())
        return {name: StepCost(**cost) for name, cost in contents.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def uses_gpu(arm: Arm) -> bool:
    """Whether a cell of the arm belongs on a GPU; found without building its networks.

    A network on frames does, also where it is not trained and only its batch norms are estimated
    anew. A `PositionPrior` does not: it is a table without a layer to compute.
    """
    parameters = inspect.signature(arm.task).parameters  # those of a partial have its values
    view, net = (
        parameters[name].default if name in parameters else None for name in ("view", "net")
    )
    is_table = getattr(net, "func", net) is PositionPrior
    return arm.recipe is not None and isinstance(view, View) and not is_table


def trains_on_gpu(arm: Arm) -> bool:
    """Whether a cell of the arm trains a network by steps, and competes for GPUs to do so."""
    return arm.recipe is not None and arm.recipe.epochs > 0 and uses_gpu(arm)


def _count(arm: Arm) -> StepCost | None:
    assert arm.recipe is not None
    try:
        return count_step(arm.task, arm.recipe, unlabelled=bool(arm.rows.unlabelled))
    except RuntimeError:  # an operation reads values, which tensors without memory do not have
        return None


def _measure(file: StudyFile | None, arm: Arm, counted: StepCost) -> StepCost:
    assert arm.recipe is not None
    device = "cuda" if torch.cuda.is_available() else "cpu"
    unlabelled = bool(arm.rows.unlabelled)
    return measure_step(arm.task, arm.recipe, counted, device=device, unlabelled=unlabelled)


def _fits(known: StepCost, counted: StepCost) -> bool:
    names = ("batch", "gradient_bytes", "num_norms")
    return all(getattr(known, name) == getattr(counted, name) for name in names)


def _key(arm: Arm) -> str:
    """Equal for arms whose steps cost the same."""
    recipe = arm.recipe and replace(arm.recipe, epochs=1, lr=1.0, select="last", norm_batches=0)
    return repr((describe(arm.task), recipe, bool(arm.rows.unlabelled)))
