"""The training loop: it keeps the right epoch, repeats itself, and handles non-finite losses."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from lus_ray.data.transforms import augment_gare2021
from lus_ray.data.transforms.augment import Augment
from lus_ray.data.transforms.augment_roy2020 import SixSteps
from lus_ray.data.transforms.view import View
from lus_ray.errors import CellError
from lus_ray.experiment import Recipe
from lus_ray.tasks.task import Task
from lus_ray.training.loop import fit

RECIPE = Recipe(epochs=4, batch=2, lr=0.1)
LAST = replace(RECIPE, select="last")


class Brightness(Task):
    """Predicts the mean grey of a clip by one weight; in `bad` epochs it has a problem.

    With `normalised` it keeps a running mean of the loss.
    """

    def __init__(self, networks=("net",), *, normalised=False, bad=()):
        super().__init__()
        self.view = View(num_frames=1, height=2, width=2)
        self.networks, self.bad, self.batches = networks, bad, []
        for network in networks:
            self.add_module(network, nn.Linear(1, 1))
        if normalised:
            self.register_buffer("mean", torch.zeros(()))

    def forward(self, batch, network):
        self.batches.append({name: value.clone() for name, value in batch.items()})
        grey = batch["frames"].mean(dim=(1, 2, 3))[:, None]
        guess = sum(getattr(self, name)(grey) for name in self.networks)
        loss = ((guess - 3 * grey) ** 2).mean() * batch.get("poison", 1)
        if hasattr(self, "mean"):
            self.mean = 0.9 * self.mean + 0.1 * loss.detach()
        return {"loss": loss, "shift": guess.mean()}

    def find_problem(self, losses):
        return "all is lost" if 4 * self.progress in self.bad else ""


def batches(epoch, start=0):
    generator = torch.Generator().manual_seed(epoch)
    frames = torch.randint(0, 255, (8, 2, 1, 2, 2), generator=generator).byte()
    return iter([{"frames": own} for own in frames[start:]])


def poisoned(*bad):
    """Batches with a NaN loss in these steps (epoch, step); a step of None means all steps."""

    def data(epoch, start):
        for step, batch in enumerate(batches(epoch, start), start):
            is_bad = (epoch, step) in bad or (epoch, None) in bad
            yield batch | ({"poison": torch.tensor(math.nan)} if is_bad else {})

    return data


def run(task, recipe=RECIPE, validate=None, data=batches, seed=0):
    log = []
    result = fit(
        task, batches=data, validate=validate or (lambda task: {"score": math.nan}),
        recipe=recipe, seed=seed, report=log.append,
    )  # fmt: skip
    return result, log


def scored(*scores):
    """A validation that returns these scores in turn."""
    remaining = iter(scores)
    return lambda task: {"score": next(remaining, 0.0)}


def test_the_loss_falls_for_every_network_and_every_epoch_is_reported():
    torch.manual_seed(0)
    task = Brightness(("net", "second"))
    before = {name: value.clone() for name, value in task.state_dict().items()}
    _, log = run(task)
    assert [entry["epoch"] for entry in log] == [0, 1, 2, 3]
    assert log[-1]["train_loss"] < log[0]["train_loss"] / 2
    assert {"train_shift", "val_score"} <= set(log[0])
    assert all(not torch.equal(value, before[name]) for name, value in task.state_dict().items())


@pytest.mark.parametrize(
    ("select", "scores", "kept"),
    [
        ("last", (0.9, 0.5, 0.4, 0.3), 3),
        ("best", (0.2, 0.9, 0.4, 0.9), 1),
        ("best", (math.nan,) * 4, 3),
        ("best", (0.5,) * 4, 0),
        ("best", (0.5, math.nan, 0.4, math.nan), 0),
        ("best", (math.nan, 0.4, math.nan, 0.3), 1),
        ("best", (math.nan, 0.4, 0.6, math.nan), 2),
        ("best", (-math.inf, math.nan, -math.inf, math.nan), 0),
    ],
)
def test_the_first_best_finite_score_selects_the_epoch(select, scores, kept):
    weights = []

    def validate(task):
        weights.append(task.net.weight.item())
        return {"score": scores[len(weights) - 1]}

    task = Brightness()
    result, _ = run(task, replace(RECIPE, select=select), validate)
    unscored = select == "best" and all(map(math.isnan, scores))
    notes = (f"no epoch has a validation score; epoch {kept} was kept",) if unscored else ()
    assert (result.epoch, result.notes) == (kept, notes)
    assert task.net.weight.item() == weights[kept]


def test_the_same_seed_gives_the_same_bits():
    def train(seed):
        torch.manual_seed(1)
        task = Brightness()
        run(task, replace(RECIPE, augment=Augment()), seed=seed)
        return task.net.weight.item()

    assert train(0) == train(0) != train(1)


PROBLEM = "all is lost"


@pytest.mark.parametrize(
    ("bad", "select", "kept", "notes"),
    [
        ({3}, "last", 2, [f"epoch 2 was kept, not epoch 3: {PROBLEM}"]),
        ({0, 2, 3}, "last", 1, [f"epoch 1 was kept, not epoch 3: {PROBLEM}"]),
        ({0, 1}, "last", 3, []),
        ({0}, "best", 2, [f"epoch 2 was kept, not epoch 0: {PROBLEM}"]),
        ({0, 2}, "best", 3, [f"epoch 3 was kept, not epoch 0: {PROBLEM}"]),
        ({1, 2}, "best", 0, []),
        ({3}, "loss", 2, [f"epoch 2 was kept, not epoch 3: {PROBLEM}"]),
        ({0, 1, 2, 3}, "last", 3, [f"epoch 3 was kept, as every epoch had a problem: {PROBLEM}"]),
        ({0, 1, 2, 3}, "best", 0, [f"epoch 0 was kept, as every epoch had a problem: {PROBLEM}"]),
    ],
)
def test_an_epoch_without_a_problem_is_preferred_with_a_note(bad, select, kept, notes):
    torch.manual_seed(0)
    recipe = replace(RECIPE, select=select)
    result, log = run(Brightness(bad=bad), recipe, scored(0.9, 0.1, 0.5, 0.4))
    assert len(log) == 4
    assert (result.epoch, list(result.notes)) == (kept, notes)


IN_A_ROW = "the loss was not finite 3 times in a row in epoch"


@pytest.mark.parametrize(
    ("bad", "recipe", "kept", "num_epochs", "note"),
    [
        ([(2, None)], RECIPE, 0, 2, f"{IN_A_ROW} 2"),
        ([(2, None)], LAST, 1, 2, "epoch 1 was kept, not epoch 3"),
        ([(0, 7), (1, 0), (1, 1)], RECIPE, 0, 1, f"{IN_A_ROW} 1"),
        ([(0, 6), (0, 7), (1, 1)], LAST, 3, 4, "epoch 1: 1 steps without a finite loss"),
    ],
    ids=["best", "last", "across epochs", "not in a row"],
)
def test_steps_without_a_finite_loss_are_skipped_and_three_in_a_row_end_training(
    bad, recipe, kept, num_epochs, note
):
    task = Brightness()
    result, log = run(task, recipe, scored(0.8, 0.1), poisoned(*bad))
    assert (result.epoch, len(log)) == (kept, num_epochs)
    assert result.notes[-1].startswith(note)
    assert all(
        map(math.isfinite, [task.net.weight.item(), *(entry["train_loss"] for entry in log)])
    )


def test_an_epoch_without_any_finite_loss_ends_training():
    def data(epoch, start):
        yield next(poisoned((2, 0))(epoch, start))

    result, log = run(Brightness(), replace(RECIPE, select="loss"), data=data)
    assert len(log) == 2
    assert result.notes == ("no step had a finite loss in epoch 2",)


def test_a_running_statistic_that_is_not_finite_ends_training_before_it():
    task = Brightness(normalised=True)
    result, log = run(task, data=poisoned((2, 3)))
    assert (result.epoch, len(log)) == (1, 2)
    assert result.notes[0] == "mean was not finite in epoch 2"
    assert torch.isfinite(task.mean)


@pytest.mark.parametrize(
    ("normalised", "bad", "reason"), [(False, None, IN_A_ROW), (True, 3, "mean was not finite in")]
)
def test_training_fails_with_a_remedy_if_no_epoch_is_usable(normalised, bad, reason):
    with pytest.raises(CellError, match=f"{reason}.* 0; lower the learning rate"):
        run(Brightness(normalised=normalised), data=poisoned((0, bad)))


class Parabola(Task):
    """One number x and the loss (x - 3)²."""

    def __init__(self, start=0.0, highest=math.inf):
        super().__init__()
        self.view = View(num_frames=1, height=2, width=2)
        self.net = nn.ParameterDict({"x": nn.Parameter(torch.tensor(start, dtype=torch.float64))})
        self.highest, self.num_constrained = highest, 0

    @property
    def x(self):
        return self.net["x"].item()

    def forward(self, batch, network):
        return {"loss": (self.net["x"] - 3).square() + 0 * batch["target"].sum()}

    def constrain(self):
        self.num_constrained += 1
        with torch.no_grad():
            self.net["x"].clamp_(max=self.highest)


def one_batch(epoch, start):
    yield {"target": torch.zeros(1, dtype=torch.float64)}


def reference_path(start, num_steps, *, milestones=(), factor=0.1, highest=math.inf, **settings):
    """x before each step of a plain Adam, and after the last."""
    x = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([x], **settings)
    path = []
    for step in range(num_steps):
        for group in adam.param_groups:
            group["lr"] = settings["lr"] * factor ** sum(step >= m for m in milestones)
        path.append(x.item())
        adam.zero_grad()
        (x - 3).square().backward()
        adam.step()
        with torch.no_grad():
            x.clamp_(max=highest)
    return [*path, x.item()]


def train_parabola(recipe, task=None):
    """x after each epoch of one step, the task, and the result."""
    task, path = task or Parabola(), []

    def validate(task):
        path.append(task.x)
        return {"score": -task.x}

    result, log = run(task, recipe, validate, one_batch)
    return path[: len(log)], task, result


def test_selection_by_loss_keeps_the_parameters_from_before_the_lowest_loss():
    path = reference_path(0.0, 12, lr=0.9)
    losses = [(x - 3) ** 2 for x in path[:12]]
    best = losses.index(min(losses))
    assert 0 < best < 11  # the step is too large: x overshoots 3
    for epochs, kept in ((12, best), (1, 0)):
        recipe = Recipe(epochs=epochs, batch=1, lr=0.9, select="loss")
        _, task, result = train_parabola(recipe)
        assert result.epoch == kept
        assert task.x == pytest.approx(path[kept], abs=1e-12)
        assert result.scores == {"score": -task.x}


@pytest.mark.parametrize(
    ("start", "changes", "settings"),
    [
        (10.0, {"l2": 0.5}, {"weight_decay": 0.5}),
        (10.0, {"weight_decay": 0.5}, {}),  # spares scalars
        (0.0, {"eps": 100.0}, {"eps": 100.0}),
        (0.0, {"milestones": (4,)}, {"milestones": (4,)}),
        (0.0, {"milestones": (2, 5)}, {"milestones": (2, 5)}),
        # The score -x falls from the first epoch on.
        (0.0, {"plateau": 0.5, "patience": 1}, {"milestones": (3, 5, 7), "factor": 0.5}),
    ],
)
def test_settings_of_the_recipe_reach_the_optimizer(start, changes, settings):
    recipe = Recipe(epochs=8, batch=1, lr=0.1, select="last", **changes)
    path, _, _ = train_parabola(recipe, Parabola(start))
    assert path == pytest.approx(reference_path(start, 8, lr=0.1, **settings)[1:], abs=1e-12)


def test_parameters_are_constrained_after_every_step_and_before_validation():
    recipe = Recipe(epochs=5, batch=1, lr=0.1, select="last")
    path, task, _ = train_parabola(recipe, Parabola(highest=0.25))
    assert task.num_constrained == 5
    assert path == pytest.approx(reference_path(0.0, 5, lr=0.1, highest=0.25)[1:], abs=1e-12)
    assert path[-1] == 0.25


def prepare(raw, **recipe):
    """A batch as the task receives it."""
    task = Brightness()
    run(task, Recipe(epochs=1, batch=4, lr=1e-6, **recipe), data=lambda epoch, start: [raw])
    (batch,) = task.batches
    return batch


def test_copies_are_made_of_frames_with_and_without_masks():
    masks = torch.arange(6, dtype=torch.uint8).reshape(1, 1, 2, 3).repeat(4, 1, 1, 1)
    raw = {"frames": masks * 51, "masks": masks, "copy": torch.tensor([0, 1, 3, 5])}
    frames, masks = augment_gare2021.make_copies(raw["frames"] / 255, raw["masks"], raw["copy"])
    batch = prepare(raw, copies=6)
    assert batch.keys() == {"frames", "masks"}
    assert torch.equal(batch["frames"], frames)
    assert torch.equal(batch["masks"], masks)
    assert batch["masks"][2, 0, 0].tolist() == [2, 1, 0]
    unlabelled = prepare({name: raw[name] for name in ("frames", "copy")}, copies=6)
    assert unlabelled.keys() == {"frames"}
    assert torch.equal(unlabelled["frames"], frames)


@pytest.mark.parametrize("augment", [SixSteps(), Augment()])
def test_masks_are_augmented_with_their_frames_and_unlabelled_frames_independently(augment):
    masks = torch.randint(0, 5, (16, 1, 8, 8), generator=torch.Generator().manual_seed(0)).byte()
    raw = {"frames": masks * 50, "target_frames": masks * 50, "masks": masks}
    plain = prepare(raw)["target_frames"]
    assert torch.equal(plain, raw["frames"] / 255)
    batch = prepare(raw, augment=augment)
    assert batch["masks"].dtype == torch.uint8
    assert batch["masks"].max() <= 4
    moved = (batch["masks"] != masks).flatten(1).any(dim=1)
    assert moved.any()
    changed = (batch["frames"] - plain).abs().flatten(1).amax(dim=1) > 0.01
    assert changed[moved].all()
    target = batch["target_frames"]
    assert 0 <= target.min() <= target.max() <= 1
    for other in (plain, batch["frames"]):
        assert not torch.allclose(target, other, atol=0.01)
