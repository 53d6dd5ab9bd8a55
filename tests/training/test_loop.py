"""The training loop: it learns, keeps the right epoch, repeats itself, and survives bad numbers."""

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


class Brightness(Task):
    """Predict the mean grey of a clip by one weight: the smallest real task."""

    def __init__(self, networks=("net",)):
        super().__init__()
        self.view = View(num_frames=1, height=2, width=2)
        self.networks = networks
        for network in networks:
            self.add_module(network, nn.Linear(1, 1))

    def forward(self, batch, network):
        mean = batch["frames"].mean(dim=(1, 2, 3))[:, None]
        guess = sum(getattr(self, name)(mean) for name in self.networks)
        return {"loss": ((guess - 3 * mean) ** 2).mean(), "shift": guess.mean()}


def batches(epoch):
    generator = torch.Generator().manual_seed(epoch)
    for _ in range(8):
        yield {"frames": torch.randint(0, 255, (2, 1, 2, 2), generator=generator).byte()}


def run(task, recipe=RECIPE, validate=None, data=batches, seed=0):
    log = []
    fitted = fit(
        task, batches=data, validate=validate or (lambda task: {"score": math.nan}),
        recipe=recipe, seed=seed, report=log.append,
    )  # fmt: skip
    return fitted, log


def test_the_loss_falls_and_every_epoch_is_reported():
    torch.manual_seed(0)
    _, log = run(Brightness())
    assert [entry["epoch"] for entry in log] == [0, 1, 2, 3]
    assert log[-1]["train_loss"] < log[0]["train_loss"] / 2
    assert {"train_shift", "val_score"} <= set(log[0])


def test_the_epoch_with_the_best_validation_score_is_kept():
    scores = iter([0.2, 0.9, 0.4, 0.9])
    kept = []

    def validate(task):
        kept.append(task.net.weight.item())
        return {"score": next(scores)}

    task = Brightness()
    fitted, _ = run(task, validate=validate)
    assert fitted.epoch == 1
    assert task.net.weight.item() == kept[1]


def test_the_last_epoch_is_kept_on_request_and_without_validation():
    falling = iter([0.9, 0.5, 0.4, 0.3])
    last = Recipe(epochs=4, batch=2, lr=0.1, select="last")
    assert run(Brightness(), last, lambda task: {"score": next(falling)})[0].epoch == 3
    assert run(Brightness())[0].epoch == 3


def test_the_same_seed_gives_the_same_bits():
    def weights(seed):
        torch.manual_seed(1)
        task = Brightness()
        run(task, Recipe(epochs=2, batch=2, lr=0.1, augment=Augment()), seed=seed)
        return task.net.weight.item()

    assert weights(0) == weights(0)
    assert weights(0) != weights(1)


def test_players_take_turns_and_each_moves_its_own_weights_only():
    torch.manual_seed(0)
    task = Brightness(("net", "other"))
    recipe = Recipe(epochs=1, batch=2, lr=0.1)
    before = {name: value.clone() for name, value in task.state_dict().items()}
    run(task, recipe)
    assert all(not torch.equal(value, before[name]) for name, value in task.state_dict().items())


def test_a_plateau_lowers_the_learning_rate():
    recipe = Recipe(epochs=6, batch=2, lr=0.1, plateau=0.5, patience=1)
    steady, _ = run(Brightness(), recipe, lambda task: {"score": 0.5})
    assert steady.epoch == 0


@pytest.mark.parametrize(
    ("scores", "kept"),
    [
        ((0.5, math.nan, 0.4, math.nan), 0),
        ((math.nan, 0.4, math.nan, 0.3), 1),
        ((math.nan, 0.4, 0.6, math.nan), 2),
        ((-math.inf, math.nan, -math.inf, math.nan), 0),
    ],
)
def test_a_score_that_is_no_number_takes_the_place_of_its_like_alone(scores, kept):
    given = iter(scores)
    fitted, _ = run(Brightness(), validate=lambda task: {"score": next(given)})
    assert fitted.epoch == kept
    assert fitted.notes == ()


class Troubled(Brightness):
    """It sees trouble in some epochs of four."""

    def __init__(self, epochs):
        super().__init__()
        self.bad = epochs

    def find_problem(self, losses):
        return "all is lost" if 4 * self.progress in self.bad else ""


@pytest.mark.parametrize(
    ("bad", "select", "kept", "notes"),
    [
        ({3}, "last", 2, ["epoch 2 was kept, not epoch 3: all is lost"]),
        ({0, 2, 3}, "last", 1, ["epoch 1 was kept, not epoch 3: all is lost"]),
        ({0, 1}, "last", 3, []),
        ({0}, "best", 2, ["epoch 2 was kept, not epoch 0: all is lost"]),
        ({0, 2}, "best", 3, ["epoch 3 was kept, not epoch 0: all is lost"]),
        ({1, 2}, "best", 0, []),
        ({3}, "loss", 2, ["epoch 2 was kept, not epoch 3: all is lost"]),
        ({0, 1, 2, 3}, "last", 3,
         ["epoch 3 was kept, as every epoch had a problem: all is lost"]),
        ({0, 1, 2, 3}, "best", 0,
         ["epoch 0 was kept, as every epoch had a problem: all is lost"]),
    ],
)  # fmt: skip
def test_any_sound_epoch_is_kept_before_one_with_trouble_and_a_note_tells(bad, select, kept, notes):
    scores = iter([0.9, 0.1, 0.5, 0.4])
    torch.manual_seed(0)
    fitted, log = run(
        Troubled(bad), replace(RECIPE, select=select), lambda task: {"score": next(scores, 0.0)}
    )
    assert len(log) == 4
    assert fitted.epoch == kept
    assert list(fitted.notes) == notes


def poisoned(bad):
    def data(epoch):
        for number, batch in enumerate(batches(epoch)):
            if (epoch, number) in bad:
                yield {"frames": batch["frames"], "poison": torch.ones(1)}
            else:
                yield batch

    return data


class Poisoned(Brightness):
    """Its loss is NaN where the batch says so."""

    def forward(self, batch, network):
        losses = super().forward(batch, network)
        if "poison" in batch:
            losses["loss"] = losses["loss"] * math.nan
        return losses


def test_one_step_without_a_finite_loss_is_left_out_with_a_note():
    task = Poisoned()
    fitted, log = run(task, data=poisoned({(1, 3)}))
    assert "1 steps" in fitted.notes[0]
    assert math.isfinite(task.net.weight.item())
    assert all(math.isfinite(entry["train_loss"]) for entry in log)


def test_a_loss_that_stays_not_finite_ends_at_the_best_epoch():
    scores = iter([0.8, 0.1])
    bad = {(2, n) for n in range(8)}
    fitted, log = run(
        Poisoned(), None or RECIPE, lambda task: {"score": next(scores)}, poisoned(bad)
    )
    assert fitted.epoch == 0
    assert "not finite" in fitted.notes[-1]
    assert len(log) == 2


@pytest.mark.parametrize("select", ["loss", "best"])
def test_an_epoch_without_a_finite_loss_ends_training_however_few_its_steps(select):
    def data(epoch):
        return (batch for batch, _ in zip(poisoned({(2, 0)})(epoch), range(1), strict=False))

    fitted, log = run(Poisoned(), replace(RECIPE, select=select), lambda task: {"score": 0.5}, data)
    assert [entry["epoch"] for entry in log] == [0, 1]
    assert fitted.notes == ("no step had a finite loss in epoch 2",)


def test_steps_without_a_finite_loss_are_counted_from_epoch_to_epoch():
    fitted, log = run(Poisoned(), data=poisoned({(0, 7), (1, 0), (1, 1)}))
    assert len(log) == 1
    assert fitted.notes[-1] == "the loss was not finite 3 times in a row in epoch 1"
    between = poisoned({(0, 6), (0, 7), (1, 1)})
    assert len(run(Poisoned(), data=between)[1]) == 4, "a finite one begins the count anew"


def test_a_last_epoch_that_was_not_reached_is_told_of():
    last = replace(RECIPE, select="last")
    fitted, _ = run(Poisoned(), last, data=poisoned({(2, n) for n in range(8)}))
    assert fitted.epoch == 1
    assert fitted.notes[-1] == "epoch 1 was kept, not epoch 3"


def test_a_loss_that_never_is_finite_fails_with_what_to_do():
    bad = {(0, n) for n in range(8)}
    with pytest.raises(CellError, match="lower the learning rate"):
        run(Poisoned(), data=poisoned(bad))


class Parabola(Task):
    """One number x and the loss (x - 3)²: every step can be followed by hand."""

    def __init__(self, start=0.0):
        super().__init__()
        self.view = View(num_frames=1, height=2, width=2)
        self.net = nn.ParameterDict({"x": nn.Parameter(torch.tensor(start, dtype=torch.float64))})
        self.highest = math.inf
        self.num_constrained = 0

    @property
    def x(self):
        return self.net["x"].item()

    def forward(self, batch, network):
        return {"loss": (self.net["x"] - 3).square() + 0 * batch["target"].sum()}

    def constrain(self):
        self.num_constrained += 1
        with torch.no_grad():
            self.net["x"].clamp_(max=self.highest)


def once(epoch):
    yield {"target": torch.zeros(1, dtype=torch.float64)}


def plain_adam(start, num_steps, *, milestones=(), highest=math.inf, **settings):
    """Where x is before each step and after the last."""
    x = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([x], **settings)
    places = []
    for step in range(num_steps):
        for group in adam.param_groups:
            group["lr"] = settings["lr"] * 0.1 ** sum(step >= m for m in milestones)
        places.append(x.item())
        adam.zero_grad()
        (x - 3).square().backward()
        adam.step()
        with torch.no_grad():
            x.clamp_(max=highest)
    return [*places, x.item()]


def steps(recipe, start=0.0):
    """Where x was after each epoch of one step, the kept x, and what was fitted."""
    task, places = Parabola(start), []

    def validate(task):
        places.append(task.x)
        return {"score": math.nan}

    fitted, log = run(task, recipe, validate, once)
    return places[: len(log)], task.x, fitted


def test_selected_by_loss_the_parameters_from_before_the_lowest_loss_are_kept():
    places = plain_adam(0.0, 12, lr=0.9)
    losses = [(x - 3) ** 2 for x in places[:12]]
    best = losses.index(min(losses))
    assert 0 < best < 11  # the step is too large: it runs past 3
    _, kept, fitted = steps(Recipe(epochs=12, batch=1, lr=0.9, select="loss"))
    assert fitted.epoch == best
    assert kept == pytest.approx(places[best], abs=1e-12)
    assert losses[best] == pytest.approx((kept - 3) ** 2, abs=1e-12)


def test_selected_by_loss_the_step_that_never_was_evaluated_is_not_kept():
    _, kept, fitted = steps(Recipe(epochs=1, batch=1, lr=0.9, select="loss"), start=2.0)
    assert (fitted.epoch, kept) == (0, 2.0)


def test_selected_by_loss_the_scores_are_those_of_the_kept_parameters():
    recipe = Recipe(epochs=12, batch=1, lr=0.9, select="loss")
    task = Parabola()
    fitted, _ = run(task, recipe, lambda task: {"score": task.x}, once)
    assert fitted.scores == {"score": task.x}


def test_the_loss_decides_even_where_validation_points_elsewhere():
    recipe = Recipe(epochs=12, batch=1, lr=0.9, select="loss")
    task = Parabola()
    fitted, _ = run(task, recipe, lambda task: {"score": -task.x}, once)
    assert fitted.epoch > 0


def test_l2_is_that_of_adam_and_acts_on_numbers_that_weight_decay_spares():
    settings = {"lr": 0.1, "weight_decay": 0.5, "eps": 1e-8}
    recipe = Recipe(epochs=7, batch=1, lr=0.1, l2=0.5, select="last")
    places, _, _ = steps(recipe, start=10.0)
    assert places == pytest.approx(plain_adam(10.0, 7, **settings)[1:], abs=1e-12)
    spared = Recipe(epochs=7, batch=1, lr=0.1, weight_decay=0.5, select="last")
    assert steps(spared, start=10.0)[0] == pytest.approx(plain_adam(10.0, 7, lr=0.1)[1:])


def test_eps_reaches_the_optimizer():
    recipe = Recipe(epochs=3, batch=1, lr=0.1, eps=100.0, select="last")
    places, _, _ = steps(recipe)
    assert places == pytest.approx(plain_adam(0.0, 3, lr=0.1, eps=100.0)[1:], abs=1e-12)
    assert places[-1] < 0.1 < steps(Recipe(epochs=3, batch=1, lr=0.1, select="last"))[0][-1]


@pytest.mark.parametrize("milestones", [(4,), (2, 5)])
def test_after_each_milestone_the_rate_is_a_tenth(milestones):
    recipe = Recipe(epochs=8, batch=1, lr=0.1, milestones=milestones, select="last")
    places, _, _ = steps(recipe)
    expected = plain_adam(0.0, 8, lr=0.1, milestones=milestones)
    assert places == pytest.approx(expected[1:], abs=1e-12)
    first = milestones[0]
    ratio = (expected[first + 1] - expected[first]) / (expected[first] - expected[first - 1])
    assert ratio == pytest.approx(0.1, rel=0.05)


def test_parameters_are_constrained_after_every_step_before_anyone_looks():
    task, seen = Parabola(), []
    task.highest = 0.25

    def validate(task):
        seen.append(task.x)
        return {"score": math.nan}

    run(task, Recipe(epochs=5, batch=1, lr=0.1, select="last"), validate, once)
    assert task.num_constrained == 5
    assert seen == pytest.approx(plain_adam(0.0, 5, lr=0.1, highest=0.25)[1:], abs=1e-12)
    assert seen[-1] == 0.25


class Seen(Brightness):
    """Keeps the batches that it is given."""

    def __init__(self):
        super().__init__()
        self.batches = []

    def forward(self, batch, network):
        self.batches.append({name: value.clone() for name, value in batch.items()})
        return super().forward(batch, network)


def with_masks(epoch):
    """One batch: masks are the frames in steps of 51, so that one tells where the other went."""
    masks = torch.arange(6, dtype=torch.uint8).reshape(1, 1, 2, 3).repeat(4, 1, 1, 1)
    yield {"frames": masks * 51, "masks": masks, "copy": torch.tensor([0, 1, 3, 5])}


def prepared(data, **recipe):
    task = Seen()
    run(task, Recipe(epochs=1, batch=4, lr=1e-6, **recipe), data=data)
    (batch,) = task.batches
    return batch


def test_copies_are_made_of_frames_and_masks_alike_before_the_task_sees_them():
    (raw,) = with_masks(0)
    batch = prepared(with_masks, copies=6)
    frames, masks = augment_gare2021.make_copies(raw["frames"] / 255, raw["masks"], raw["copy"])
    assert torch.equal(batch["frames"], frames)
    assert torch.equal(batch["masks"], masks)
    assert "copy" not in batch
    assert batch["masks"][2, 0, 0].tolist() == [2, 1, 0]


def test_copies_of_frames_without_masks_are_made_too():
    def data(epoch):
        yield {name: value for name, value in next(with_masks(epoch)).items() if name != "masks"}

    batch = prepared(data, copies=6)
    assert batch.keys() == {"frames"}
    assert torch.equal(batch["frames"], prepared(with_masks, copies=6)["frames"])


@pytest.mark.parametrize("augment", [SixSteps(), Augment()])
def test_masks_are_augmented_with_their_frames_and_keep_their_classes(augment):
    def data(epoch):
        generator = torch.Generator().manual_seed(epoch)
        masks = torch.randint(0, 5, (16, 1, 8, 8), generator=generator).byte()
        yield {"frames": masks * 50, "masks": masks}

    batch, (raw,) = prepared(data, augment=augment), data(0)
    assert batch["masks"].dtype == torch.uint8
    assert batch["masks"].max() <= 4
    moved = (batch["masks"] != raw["masks"]).flatten(1).any(dim=1)
    assert moved.any()
    changed = (batch["frames"] - raw["frames"] / 255).abs().flatten(1).amax(dim=1) > 0.01
    assert changed[moved].all()


class Normalised(Poisoned):
    """It remembers the mean of what it saw, as a batch norm does, and so a NaN for ever."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, batch, network):
        losses = super().forward(batch, network)
        self.mean = 0.9 * self.mean + 0.1 * losses["loss"].detach()
        return losses


def test_where_a_step_that_is_left_out_spoils_what_is_remembered_training_ends_before_it():
    task = Normalised()
    fitted, log = run(task, data=poisoned({(2, 3)}))
    assert [entry["epoch"] for entry in log] == [0, 1]
    assert fitted.epoch == 1
    assert fitted.notes == ("mean was not finite in epoch 2",)
    assert torch.isfinite(task.mean)


def test_spoiled_from_the_first_epoch_on_it_fails_with_what_to_do():
    with pytest.raises(CellError, match="mean was not finite in epoch 0; lower the learning rate"):
        run(Normalised(), data=poisoned({(0, 3)}))


def test_unlabelled_frames_are_greys_in_unit_range_with_an_augmentation_of_their_own():
    def data(epoch):
        (raw,) = with_masks(epoch)
        frames = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 255
        yield {"frames": frames.byte(), "target_frames": frames.byte(),
               "masks": raw["masks"].new_zeros(4, 1, 8, 8)}  # fmt: skip

    (raw,) = data(0)
    plain = prepared(data)
    assert torch.equal(plain["target_frames"], raw["target_frames"] / 255)
    turned = prepared(data, augment=Augment())
    assert turned["target_frames"].shape == (4, 1, 8, 8)
    assert 0 <= turned["target_frames"].min() <= turned["target_frames"].max() <= 1
    assert not torch.allclose(turned["target_frames"], plain["target_frames"], atol=0.01)
    assert not torch.allclose(turned["target_frames"], turned["frames"], atol=0.01)
