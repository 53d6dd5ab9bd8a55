"""Statistics of batch norms, estimated anew after training: from which frames, and when."""

import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import distributed, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

from experiments.bline_adaptation import EXPERIMENT
from lus_ray.data.transforms.augment import Augment
from lus_ray.data.transforms.view import View
from lus_ray.errors import ArmError
from lus_ray.experiment import Recipe
from lus_ray.nets import SifaSegmenter
from lus_ray.orchestration.run_options import apply_options
from lus_ray.tasks import Sifa
from lus_ray.tasks.task import Task
from lus_ray.training import batch_norm
from lus_ray.training.loop import fit
from lus_ray.training.state import TrainingState

RECIPE = Recipe(epochs=3, batch=4, lr=0.01, select="last", augment=Augment(), norm_batches=2)


class DroppedGrey(Task):
    """Predicts the mean grey of a frame; dropout stands in front of its batch norm."""

    def __init__(self, norm=nn.BatchNorm2d):
        super().__init__()
        self.view = View(num_frames=1, height=8, width=8)
        self.net = nn.Sequential(
            nn.Conv2d(1, 3, 3), nn.Dropout(0.5), norm(3), nn.ReLU(), nn.Conv2d(3, 1, 1)
        )

    def forward(self, batch, network):
        grey = batch["frames"].mean(dim=(1, 2, 3))
        return {"loss": (self.net(batch["frames"]).mean(dim=(1, 2, 3)) - grey).square().mean()}


def batches(epoch, start=0):
    generator = torch.Generator().manual_seed(epoch)
    frames = torch.randint(0, 255, (3, 4, 1, 8, 8), generator=generator).byte()
    return iter([{"frames": own} for own in frames[start:]])


def build(**more):
    torch.manual_seed(0)
    return DroppedGrey(**more)


def train(task, recipe=RECIPE, validate=lambda task: {"score": math.nan}, **more):
    settings = {"seed": 0, "report": lambda values: None, **more}
    return fit(task, batches=batches, validate=validate, recipe=recipe, **settings)


def expected_statistics(task, epoch, num_batches=2):
    """Means over batches of the mean and the variance of the convolution's maps, by hand."""
    maps = [
        task.net[0](batch["frames"] / 255).movedim(1, 0).flatten(1)
        for batch in list(batches(epoch))[:num_batches]
    ]
    means = torch.stack([part.mean(dim=1) for part in maps]).mean(dim=0)
    return means, torch.stack([part.var(dim=1) for part in maps]).mean(dim=0)


def statistics(task):
    return task.net[2].running_mean, task.net[2].running_var


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, nn.SyncBatchNorm])
@pytest.mark.parametrize(
    ("settings", "epoch"),
    [({}, 2), ({"norm_batches": 99}, 2), ({"epochs": 0}, 0), ({"select": "loss"}, None)],
)
def test_statistics_are_those_of_plain_frames_without_dropout(norm, settings, epoch):
    task = build(norm=norm)
    recipe = replace(RECIPE, **settings)
    result = train(task, recipe)
    number = min(recipe.norm_batches, 3)
    expected = expected_statistics(task, result.epoch if epoch is None else epoch, number)
    for found, value in zip(statistics(task), expected, strict=True):
        torch.testing.assert_close(found, value)
    assert task.net[2].momentum == 0.1
    assert not any(module.training for module in task.modules())


def test_the_weights_are_those_of_training_without_reestimation():
    tasks = []
    for number in (0, 2):
        tasks.append(build())
        train(tasks[-1], replace(RECIPE, norm_batches=number))
    for (name, plain), other in zip(
        tasks[0].named_parameters(), tasks[1].parameters(), strict=True
    ):
        torch.testing.assert_close(plain, other, rtol=0, atol=0, msg=name)
    assert not torch.equal(statistics(tasks[0])[1], statistics(tasks[1])[1])


@pytest.mark.parametrize("settings", [{"select": "best"}, {"plateau": 0.5}])
def test_validation_that_selects_sees_the_statistics_that_are_kept(settings):
    scored = []

    def validate(task):
        scored.append([value.clone() for value in statistics(task)])
        return {"score": [0.1, 0.9, 0.2][len(scored) - 1]}

    task = build()
    result = train(task, replace(RECIPE, **settings), validate)
    assert len(scored) == 3
    for found, value in zip(statistics(task), scored[result.epoch], strict=True):
        assert torch.equal(found, value)
    expected = expected_statistics(task, result.epoch)
    torch.testing.assert_close(list(statistics(task)), list(expected))


@pytest.mark.parametrize("select", ["last", "best"])
def test_a_killed_training_resumes_to_the_same_statistics(tmp_path, select):
    recipe = replace(RECIPE, select=select)
    undisturbed = build()
    train(undisturbed, recipe)

    def stop(values):
        if values["epoch"] == 2:
            raise KeyboardInterrupt

    state = TrainingState(tmp_path / "state.safetensors", every_s=0)
    with pytest.raises(KeyboardInterrupt):
        train(build(), recipe, state=state, report=stop)
    torch.manual_seed(7)
    resumed = DroppedGrey()
    train(resumed, recipe, state=state)
    for (name, value), other in zip(
        undisturbed.state_dict().items(), resumed.state_dict().values(), strict=True
    ):
        assert torch.equal(value, other), name


@pytest.mark.parametrize("count", [0, 2])
def test_a_batch_norm_that_no_batch_reaches_keeps_its_statistics(count):
    task = build()
    task.unused = nn.BatchNorm2d(3)
    for norm in (task.unused, task.net[2]):
        norm.running_mean.fill_(5.0)
    frames = ({"frames": batch["frames"] / 255} for batch in list(batches(0))[:count])
    batch_norm.reestimate(task, frames, seed=0)
    kept = [torch.equal(n.running_mean, torch.full((3,), 5.0)) for n in (task.unused, task.net[2])]
    assert kept == [True, not count]


def train_on_share(rank, folder, number):
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
    )
    validated = []

    def validate(task):
        validated.append(torch.cat(statistics(task)))
        return {"score": float(len(validated))}

    task = build()
    fit(
        task,
        batches=lambda epoch, _: [{"frames": b["frames"][rank::2]} for b in batches(epoch)],
        validate=validate, recipe=replace(RECIPE, norm_batches=number, augment=None), seed=0,
        report=lambda values: None, prepare=DistributedDataParallel, rank=rank,
    )  # fmt: skip
    save_file({"validated": torch.stack(validated), **task.state_dict()}, f"{folder}/{rank}")
    distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 3])
def test_all_workers_have_the_same_statistics_those_of_all_shares(tmp_path, number):
    arguments = (str(tmp_path), number)
    multiprocessing.start_processes(train_on_share, arguments, nprocs=2, start_method="fork")
    first, second = (load_file(tmp_path / str(rank)) for rank in (0, 1))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    if number:
        task = build().eval()
        task.load_state_dict({n: value for n, value in first.items() if n != "validated"})
        shares = [b["frames"][rank::2] / 255 for b in batches(2) for rank in (0, 1)]
        batch_norm.reestimate(task, [{"frames": share} for share in shares], seed=0)
        expected = {"2.running_mean": statistics(task)[0], "2.running_var": statistics(task)[1]}
        torch.testing.assert_close({n: first[f"net.{n}"] for n in expected}, expected)


def test_the_random_generator_is_left_as_it_was():
    task, frames = build(), torch.rand(4, 1, 8, 8)
    state = torch.get_rng_state()
    batch_norm.reestimate(task, [{"frames": frames}], seed=3)
    assert torch.equal(torch.get_rng_state(), state)


def test_sifa_takes_the_statistics_of_its_target():
    torch.manual_seed(0)
    task = Sifa(
        lambda num_outputs, **more: SifaSegmenter(num_outputs, width=1, **more), num_units=1
    ).eval()
    source, target = torch.rand(2, 1, 8, 8), torch.rand(2, 1, 8, 8)
    masks = torch.zeros(2, 1, 8, 8).byte()
    batch = {"frames": source, "target_frames": target, "masks": masks}
    batch_norm.reestimate(task, [batch], seed=0)
    first = task.net.descent[1]
    maps = task.net.first((target * 2 - 1).expand(-1, 3, -1, -1))
    torch.testing.assert_close(first.running_mean, maps.mean(dim=(0, 2, 3)))
    norms = [module for module in task.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {int(norm.num_batches_tracked) for norm in norms} == {1}


def test_an_arm_without_epochs_needs_a_start_and_trains_at_no_size():
    arm = EXPERIMENT.at("smoke").arm("unet covid, batch norm re-estimated")
    assert (arm.recipe.epochs, arm.recipe.batch, arm.start) == (0, 4, "unet covid")
    longer = apply_options(EXPERIMENT, "smoke", settings=["arm.recipe.epochs=3"])
    assert {a.recipe.epochs for a in longer.arms if a.recipe} == {0, 3}
    with pytest.raises(ArmError, match="has 0 epochs and no `start`"):
        EXPERIMENT.with_arms((replace(arm, start=None),))


def test_a_recipe_without_epochs_needs_batches_for_statistics():
    with pytest.raises(ArmError, match="epochs is 0; give 1 or more, or 1 or more norm_batches"):
        Recipe(epochs=0, batch=4, lr=0.1)
