"""SIFA: the published losses, whose turn it is, what is shared, and when training is broken."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn.functional import softmax

from lus_ray.data.transforms.view import View
from lus_ray.errors import ArmError
from lus_ray.experiment import Recipe
from lus_ray.metrics import segmentation
from lus_ray.nets import SifaSegmenter
from lus_ray.tasks import Sifa
from lus_ray.tasks.image_pool import ImagePool
from lus_ray.tasks.losses import balanced_cross_entropy, one_hot, soft_dice
from lus_ray.tasks.sifa import COLLAPSED, DISCRIMINATOR_LOSSES, NETWORKS, StepCache
from lus_ray.training import checkpoint, loop, optim

SIZE = (16, 24)
VIEW = View(num_frames=1, height=16, width=24, num_samples=0)
RECIPE = Recipe(epochs=2, batch=2, lr=1e-3, select="last")
VERSIONS = pytest.mark.parametrize("version", [1, 2])


def settings(version=1, *, dropout=0.0, **more):
    """Arguments of the smallest SIFA; without dropout, so that a loss is a number to compute."""
    net = partial(SifaSegmenter, width=1, dropout=dropout)
    return {"net": net, "view": VIEW, "version": version, "num_units": 1, "pool": 2} | more


def made(version=1, kind=Sifa, **more):
    torch.manual_seed(0)
    return kind(**settings(version, **more))


def uint8_batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    frames, target = torch.randint(0, 256, (2, 2, 1, *SIZE), generator=generator).byte()
    return {"frames": frames, "target_frames": target // 3, "masks": (frames > 180).byte()}


def batch(seed=0):
    raw = uint8_batch(seed)
    return {name: value if name == "masks" else value / 255 for name, value in raw.items()}


def fit(task, recipe=RECIPE, num_steps=2, validate=None):
    """The reports of training and what was fitted; pools draw alike in every one."""
    torch.manual_seed(1)
    log = []
    fitted = loop.fit(
        task, batches=lambda epoch: (uint8_batch(9 * epoch + n) for n in range(num_steps)),
        validate=validate or (lambda task: {"score": math.nan}), recipe=recipe, seed=0,
        report=log.append,
    )  # fmt: skip
    return log, fitted


def adversarial(said, real):
    return ((said - real) ** 2).mean()


def published(task, given):
    """The loss of every network by Chen et al. 2019, computed apart and without any pool."""
    a, b = given["frames"] * 2 - 1, given["target_frames"] * 2 - 1
    ids = given["masks"][:, 0].long()
    truth = one_hot(ids, num_classes=2)

    def encode(images):
        codes = task.net.encode(images.expand(-1, task.channels, -1, -1))
        return codes if isinstance(codes, tuple) else (codes, None)

    def paint(images):
        return task.translator(images.expand(-1, task.channels, -1, -1))

    fake_b = paint(a)
    (code_fake, deep_fake), (code_b, deep_b) = encode(fake_b), encode(b)
    fake_a, cycle_a = task.decoder(code_b, b), task.decoder(code_fake, fake_b)
    cycle = 10 * (a - cycle_a).abs().mean() + 10 * (b - paint(fake_a)).abs().mean()
    mask_fake, mask_b = task.net.decide(code_fake, SIZE), task.net.decide(code_b, SIZE)

    def judged(judge, real, fake):
        return 0.5 * (adversarial(judge(real), 1) + adversarial(judge(fake), 0))

    def real_source(images):
        return task.source_judge(images)[:, :1]

    def brought_back(images):
        return task.source_judge(images)[:, 1:]

    def overlapping(logits):
        return balanced_cross_entropy(logits, ids) + soft_dice(logits.softmax(dim=1), truth)

    decoder = cycle + adversarial(real_source(fake_a), 1)
    net = overlapping(mask_fake) + 0.1 * decoder
    net = net + 0.1 * adversarial(brought_back(fake_a), 1)
    net = net + 0.1 * adversarial(task.mask_judge(mask_b), 1)
    losses = {
        "translator": cycle + adversarial(task.target_judge(fake_b), 1),
        "target_judge": judged(task.target_judge, b, fake_b),
        "decoder": decoder,
        "source_judge": judged(real_source, a, fake_a) + judged(brought_back, cycle_a, fake_a),
        "mask_judge": judged(task.mask_judge, mask_fake, mask_b),
    }
    if task.version == 2:
        deep_fake, deep_b = (task.net.decide_deep(d, SIZE) for d in (deep_fake, deep_b))
        net = net + 0.1 * overlapping(deep_fake)
        net = net + 0.01 * adversarial(task.deep_judge(deep_b), 1)
        losses["deep_judge"] = judged(task.deep_judge, deep_fake, deep_b)
    return losses | {"net": net}


@VERSIONS
def test_losses_and_their_gradients_are_the_published_ones(version):
    task, given = made(version, pool=0).train(), batch()
    task.progress = 1.0
    expected = published(task, given)
    assert set(expected) == set(task.networks)
    for network in task.networks:
        own = list(task.get_submodule(network).parameters())
        loss = task(given, network)["loss"]
        assert loss.item() == pytest.approx(expected[network].item(), rel=1e-5), network
        found = torch.autograd.grad(loss, own)
        wanted = torch.autograd.grad(expected[network], own, retain_graph=True)
        for one, other in zip(found, wanted, strict=True):
            assert torch.allclose(one, other, rtol=1e-3, atol=1e-6), network


@VERSIONS
def test_players_take_their_turns_in_the_published_order(version):
    last = ("deep_judge",) * (version == 2)
    order = ("translator", "target_judge", "net", "decoder", "source_judge", "mask_judge")
    assert made(version).networks == (*order, *last)
    assert order == NETWORKS


class Watched(Sifa):
    """Remembers after each step which parameters had a gradient and which moved."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.turns = []
        self.before = self.now()

    def now(self):
        return {name: value.detach().clone() for name, value in self.named_parameters()}

    def constrain(self):
        graded = {name for name, value in self.named_parameters() if value.grad is not None}
        now = self.now()
        moved = {name for name in now if not torch.equal(now[name], self.before[name])}
        self.before = now
        self.turns.append((graded, moved))


@VERSIONS
def test_in_its_turn_a_player_alone_has_gradients_and_alone_moves(version):
    task = made(version, Watched, dropout=0.25 if version == 1 else 0.0)
    log, _ = fit(task)
    assert len(task.turns) == 4 * len(task.networks)
    for network, (graded, moved) in zip(task.networks * 4, task.turns, strict=True):
        own = {name for name in task.before if name.startswith(f"{network}.")}
        assert graded == own
        assert moved
        assert moved <= own
    for entry in log:
        assert all(math.isfinite(entry[f"train_{network}_loss"]) for network in task.networks)
        total = sum(entry[f"train_{network}_loss"] for network in task.networks)
        assert entry["train_loss"] == pytest.approx(total, rel=1e-5)


@VERSIONS
def test_mixed_precision_gives_every_loss_but_for_rounding(version):
    plain, mixed = made(version, pool=0).train(), made(version, pool=0).train()
    for network in plain.networks:
        expected = plain(batch(), network)["loss"].item()
        with torch.autocast("cpu", torch.bfloat16):
            loss = mixed(batch(), network)["loss"]
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(expected, rel=0.05), network


@VERSIONS
def test_only_the_segmenter_has_momentum_l2_and_in_version_1_the_rate_of_the_recipe(version):
    task = made(version)
    for network in task.networks:
        adam = optim.build_adam(task, network, replace(RECIPE, l2=1e-4))
        (group,) = adam.param_groups
        net = network == "net"
        assert group["betas"] == ((0.9, 0.999) if net else (0.5, 0.999))
        assert group["weight_decay"] == (1e-4 if net else 0)
        assert group["lr"] == pytest.approx(1e-3 if net and version == 1 else 2e-4)
        assert adam.defaults["decoupled_weight_decay"] == (not net)  # L2 is part of the gradient
        own = list(task.get_submodule(network).parameters())
        assert list(map(id, group["params"])) == list(map(id, own))


@pytest.mark.parametrize(
    ("progress", "weight"), [(0, 0), (0.24, 0), (0.25, 0), (0.3, 0.05), (0.35, 0.1), (0.9, 0.1)]
)
def test_the_judge_of_masks_warms_up_with_the_share_of_training(progress, weight):
    task, warm = made().train(), made(2)
    task.progress = warm.progress = progress
    assert task.mask_weight() == pytest.approx(weight)
    assert warm.mask_weight() == 0.1
    losses = task(batch(), "net")
    task.progress = 0.0
    cold = task(batch(), "net")
    added = (losses["loss"] - cold["loss"]).item()
    assert added == pytest.approx(weight * losses["mask_deceit"].item(), abs=1e-5)


class Apart(Sifa):
    """Every network makes all that it needs anew."""

    def forward(self, batch, network):
        self.cache = StepCache()
        return super().forward(batch, network)


@VERSIONS
def test_what_players_share_is_what_each_would_have_made(version):
    shared, apart = (made(version, kind) for kind in (Sifa, Apart))
    logs = [fit(task, validate=lambda task: {"score": 0.5})[0] for task in (shared, apart)]
    assert logs[0] == logs[1]
    for (name, one), other in zip(shared.named_parameters(), apart.parameters(), strict=True):
        assert torch.equal(one, other), name


def test_a_judge_that_is_never_wrong_is_trouble_once_its_rival_listens():
    task = made()
    assert task.find_problem({"target_judge": 0.2, "source_judge": 0.3, "mask_judge": 0.1}) == ""
    assert (
        task.find_problem({"target_judge": COLLAPSED / 10})
        == "target_judge collapsed (loss 1.0e-05)"
    )
    assert "source_judge collapsed" in task.find_problem({"source_judge": 0.0})
    assert "source_twin collapsed" in task.find_problem({"source_judge": 0.3, "source_twin": 0.0})
    task.progress = 0.2
    assert task.find_problem({"mask_judge": 0.0}) == "", "nobody listens to it yet"
    task.progress = 0.5
    assert "mask_judge collapsed" in task.find_problem({"mask_judge": 0.0})
    assert "deep_judge collapsed" in made(2).find_problem({"deep_judge": 0.0})


class Collapsing(Sifa):
    """Its judge of the target stops being wrong after the second epoch."""

    def forward(self, batch, network):
        losses = super().forward(batch, network)
        if network == "target_judge" and self.progress >= 0.2:
            losses = {name: 0 * value for name, value in losses.items()}
        return losses


def test_a_collapsed_judge_ends_training_at_the_last_good_epoch_with_a_note():
    task, seen = made(kind=Collapsing), []

    def validate(task):
        seen.append({name: value.clone() for name, value in task.state_dict().items()})
        return {"score": float(len(seen))}

    log, fitted = fit(task, Recipe(epochs=10, batch=2, lr=1e-3, select="last"), 1, validate)
    assert len(log) == 7
    assert (fitted.epoch, fitted.scores) == (1, {"score": 2.0})
    assert fitted.notes == (
        "target_judge collapsed (loss 0.0e+00) in 5 epochs in a row, to epoch 6",
        "epoch 1 was kept, not epoch 9",
    )
    assert all(torch.equal(value, seen[1][name]) for name, value in task.state_dict().items())


@VERSIONS
def test_every_loss_of_a_judge_is_watched(version):
    task = made(version)
    task.progress = 0.5
    (entry, *_), _ = fit(task)
    losses = {name.removeprefix("train_") for name in entry}
    judged = {name for name in losses if name.endswith(("_judge", "_twin"))}
    assert judged == set(DISCRIMINATOR_LOSSES) - ({"deep_judge"} if version == 1 else set())
    assert all(task.find_problem({name: 0.0}).startswith(name) for name in judged)


class Diverging(Sifa):
    """A network's loss is no number from the second epoch on."""

    def forward(self, batch, network):
        losses = super().forward(batch, network)
        bad = math.nan if network == "decoder" and self.progress else 1.0
        return losses | {"loss": bad * losses["loss"]}


def test_a_loss_that_is_no_number_ends_training_at_the_last_good_epoch():
    task, seen = made(kind=Diverging), []

    def validate(task):
        seen.append({name: value.clone() for name, value in task.state_dict().items()})
        return {"score": 0.5}

    log, fitted = fit(task, Recipe(epochs=5, batch=2, lr=1e-3), 4, validate)
    assert (len(log), fitted.epoch) == (1, 0)
    assert fitted.notes == ("the loss was not finite 3 times in a row in epoch 1",)
    assert all(torch.equal(value, seen[0][name]) for name, value in task.state_dict().items())


def numbered(number, shape=(1, 1, 2, 2)):
    return torch.full(shape, float(number))


def test_a_pool_gives_back_what_comes_until_it_is_full():
    pool = ImagePool(3)
    for number in range(3):
        assert pool(numbered(number)) is pool.images[number]
    assert len(pool.images) == 3


def test_a_full_pool_gives_an_earlier_batch_in_half_of_the_cases_and_keeps_the_new_one():
    torch.manual_seed(0)
    pool, num_earlier = ImagePool(5), 0
    for number in range(2000):
        held = [int(image[0, 0, 0, 0]) for image in pool.images]
        given = int(pool(numbered(number))[0, 0, 0, 0])
        now = [int(image[0, 0, 0, 0]) for image in pool.images]
        if number < 5:
            continue
        if given == number:
            assert now == held
        else:
            num_earlier += 1
            assert now == [number if one == given else one for one in held]
    assert num_earlier / 1995 == pytest.approx(0.5, abs=0.04)


def test_a_pool_of_nothing_gives_back_what_comes():
    pool = ImagePool(0)
    given = numbered(1)
    assert all(pool(given) is given for _ in range(20))
    assert pool.images == []


def test_pools_are_remembered_and_then_give_what_they_would_have_given():
    one, other = made(), made()
    fit(one, num_steps=3)
    memory = one.buffer_state()
    assert set(memory) == {f"{name}.{k}" for name in ("as_target", "as_source") for k in (0, 1)}
    assert not torch.equal(memory["as_target.0"], memory["as_target.1"])
    assert all(image.abs().max() <= 1 and not image.requires_grad for image in memory.values())
    other.load_buffer_state(memory)
    for name, pool in one.pools.items():
        given = [numbered(number, (2, 1, *SIZE)) for number in range(10)]
        torch.manual_seed(4)
        expected = [pool(image) for image in given]
        torch.manual_seed(4)
        found = [other.pools[name](image) for image in given]
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def greys(num_frames=3):
    return torch.rand(num_frames, 1, *SIZE, generator=torch.Generator().manual_seed(1))


@VERSIONS
def test_frames_are_outlined_as_they_are_whatever_the_other_networks_do(version):
    task = made(version).eval()
    with torch.no_grad():
        for network in set(task.networks) - {"net"}:
            for parameter in task.get_submodule(network).parameters():
                parameter.fill_(math.nan)
        code = task.net.encode(greys().expand(-1, task.channels, -1, -1) * 2 - 1)
        code = code[0] if version == 2 else code
        expected = softmax(task.net.decide(code, SIZE), dim=1)
    assert torch.equal(torch.cat(list(task.predict_probabilities(greys()))), expected)
    said = task.predict(greys())["masks"]
    assert (said == expected.argmax(dim=1).numpy()).all()
    true = np.random.default_rng(0).integers(0, 2, (3, *SIZE), np.uint8)
    counted = task.count_pixels(greys(), true)["counts"]
    assert (counted == segmentation.count_pixels(true, said, num_classes=2).reshape(3, -1)).all()


@VERSIONS
@pytest.mark.parametrize("source", [True, False])
def test_frames_are_translated_there_and_back_within_the_range_of_greys(version, source):
    task = made(version).eval()
    other, back = task.translate_and_reconstruct(greys(), source=source)
    assert not torch.equal(*(one for one, _ in (task.translate_and_reconstruct(greys(), source=s)
                                                for s in (True, False))))  # fmt: skip
    for images in (other, back):
        assert images.shape == (3, 1, *SIZE)
        assert images.min() >= 0
        assert images.max() <= 1
    returned, _ = task.translate_and_reconstruct(other, source=not source)
    assert torch.allclose(returned, back, atol=1e-6), "back is the other way of what is there"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"target_frames": torch.zeros(2, 1, 24, 16)}, "frames of 16x24 and 24x16 pixels; give"),
        ({"target_frames": None}, r"no target_frames in a batch; give the arm Rows\(unlabelled"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused_in_one_line(changes, said):
    given = {name: value for name, value in (batch() | changes).items() if value is not None}
    with pytest.raises(ArmError, match=said) as caught:
        made()(given, "translator")
    assert "\n" not in str(caught.value)


def test_a_version_that_there_is_not_is_refused_in_one_line():
    with pytest.raises(ArmError, match="no version 3; use 1 or 2") as caught:
        made(3)
    assert "\n" not in str(caught.value)


def test_version_2_is_one_argument_whatever_the_segmenter_was_given():
    of_the_other = partial(SifaSegmenter, num_channels=3, width=1, dropout=0.25, deep=False)
    task = made(2, net=of_the_other)
    assert task.channels == task.net.first.in_channels == 1
    assert task.net.deep_out is not None
    assert not any(getattr(part, "p", 0) for part in task.net.modules())
    kept = made(1, dropout=0.25).net.modules()
    assert {part.p for part in kept if hasattr(part, "p")} == {0.25}


@VERSIONS
def test_a_checkpoint_outlines_and_translates_as_before(tmp_path, version):
    task = made(version)
    fit(task)
    checkpoint.save(tmp_path / "c", task, checkpoint.describe(partial(Sifa, **settings(version))),
                    seed=0)  # fmt: skip
    again = checkpoint.load(tmp_path / "c")
    assert (again.predict(greys())["masks"] == task.predict(greys())["masks"]).all()
    for one, other in zip(
        again.translate_and_reconstruct(greys(), source=True),
        task.translate_and_reconstruct(greys(), source=True),
        strict=True,
    ):
        assert torch.equal(one, other)


@pytest.mark.slow
def test_at_full_size_the_networks_have_the_published_numbers_of_parameters():
    def count(task):
        return {
            p: sum(v.numel() for v in task.get_submodule(p).parameters()) for p in task.networks
        }

    one = count(Sifa())
    two = count(Sifa(version=2))
    judges = {
        "decoder": 1_902_848, "target_judge": 2_763_520, "source_judge": 2_771_712,
        "mask_judge": 2_764_544,
    }  # fmt: skip
    assert one == judges | {"translator": 2_852_673, "net": 27_518_992 + 1024}
    assert two == judges | {
        "translator": 2_849_537, "net": 27_517_424 + 2 * 1024, "deep_judge": 2_764_544,
    }  # fmt: skip
