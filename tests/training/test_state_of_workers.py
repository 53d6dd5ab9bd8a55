"""Two workers that are killed in the middle of an epoch continue to the bits of one run."""

import json
from dataclasses import replace
from functools import partial
from itertools import islice

import pytest
import torch
from safetensors.torch import load_file
from torch import distributed, multiprocessing
from torch.nn.parallel import DistributedDataParallel

from lus_ray.data.transforms.augment import Augment
from lus_ray.errors import CellError
from lus_ray.experiment import Recipe
from lus_ray.training import optim
from lus_ray.training import state as state_module
from lus_ray.training.loop import fit
from lus_ray.training.state import TrainingState
from tests.training.test_state import (
    STEPS,
    Grey,
    Killed,
    assert_equal,
    batches,
    make_sifa,
    position_of,
    seeded,
    train,
)

RECIPE = Recipe(epochs=2, batch=4, lr=1e-3, augment=Augment())
SAVED = 2
"""Steps of the last epoch in its state; the workers are killed after all of its steps."""


def train_share(rank, task, path=None, *, recipe, killed_in=None):
    """The reports, notes and weights of a worker, whose batches are its own."""
    log = []

    def data(epoch, start):
        own = enumerate(batches(2 * epoch + rank, task.view.height))
        for step, batch in islice(own, start, None):
            yield batch
            if (epoch, step + 1) == killed_in:
                raise Killed

    def validate(task):
        return {"score": sum(float(value.double().sum()) for value in task.parameters())}

    several = len(task.networks) > 1
    result = fit(
        task, batches=data, validate=validate, recipe=recipe, seed=3, report=log.append,
        prepare=partial(DistributedDataParallel, find_unused_parameters=several), rank=rank,
        state=path and TrainingState(path, every_s=0, num_workers=2),
    )  # fmt: skip
    return log, result.notes, task.state_dict()


def kill_and_continue(rank, folder, factory, recipe):
    state_module.SYNC_STEPS = SAVED
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
    )
    path, last = folder / "state", recipe.epochs - 1
    log, notes, weights = train_share(rank, seeded(factory), recipe=recipe)
    with pytest.raises(Killed):
        train_share(rank, seeded(factory), path, recipe=recipe, killed_in=(last, STEPS))
    distributed.barrier()
    assert position_of(path) == (last, SAVED)
    saved = path.read_bytes()
    torch.manual_seed(99)
    rest, rest_notes, restored = train_share(rank, factory(), path, recipe=recipe)
    assert json.dumps(rest) == json.dumps(log[last:])
    assert rest_notes == notes
    assert_equal(restored, weights)
    check_different_files(rank, folder, saved, factory(), recipe)
    distributed.destroy_process_group()


def check_different_files(rank, folder, saved, task, recipe):
    """The second worker has a disk of its own, without the state."""
    path = folder / f"saved-{rank}"
    if rank == 0:
        path.write_bytes(saved)
    adams = {name: optim.build_adam(task, name, recipe) for name in task.networks}
    before = {name: value.clone() for name, value in task.state_dict().items()}
    progress = TrainingState(path, num_workers=2).load(task, adams)
    note = f"{path.name} was not the same for every worker: training started over"
    assert (progress.notes, progress.epoch, progress.unfinished) == ([note], 0, None)
    assert_equal(task.state_dict(), before)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("factory", "recipe"),
    [
        pytest.param(Grey, replace(RECIPE, select="loss"), id="dropout"),
        pytest.param(
            make_sifa, replace(RECIPE, epochs=1), id="image pools", marks=pytest.mark.full
        ),
    ],
)
def test_workers_that_are_killed_in_an_epoch_continue_as_if_uninterrupted(
    tmp_path, factory, recipe
):
    arguments = (tmp_path, factory, recipe)
    multiprocessing.start_processes(kill_and_continue, arguments, nprocs=2, start_method="fork")
    saved, start = load_file(tmp_path / "saved-0"), "worker1."
    others = {n.removeprefix(start): value for n, value in saved.items() if n.startswith(start)}
    differ = {name.partition(".")[0] for name in others if not others[name].equal(saved[name])}
    assert differ >= {"sums", "generator"} | ({"memory"} if factory is make_sifa else set())
    with pytest.raises(CellError, match=r"2 workers stopped in the middle of epoch [01]; set arm"):
        train(factory(), recipe, tmp_path / "saved-0")
