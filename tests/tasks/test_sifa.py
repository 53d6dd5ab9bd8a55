"""SIFA: published losses, order of updates, shared forward passes, and collapsed discriminators."""

import math
from copy import deepcopy
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.nn.functional import softmax

from lus_ray.experiment import Recipe
from lus_ray.nets import SifaSegmenter
from lus_ray.tasks import Sifa
from lus_ray.tasks.image_pool import ImagePool
from lus_ray.tasks.losses import balanced_cross_entropy, one_hot, soft_dice
from lus_ray.tasks.sifa import COLLAPSED, DISCRIMINATOR_LOSSES, StepCache
from lus_ray.training import checkpoint, loop, optim
from tests.tasks.conftest import SIZE, VIEW, assert_equal, greys

RECIPE = Recipe(epochs=2, batch=2, lr=1e-3, select="last")
VERSIONS = pytest.mark.parametrize("version", [1, 2])


def settings(version=1, *, dropout=0.0, **more):
    """Arguments of the smallest SIFA."""
    net = partial(SifaSegmenter, width=1, dropout=dropout)
    return {"net": net, "view": VIEW, "version": version, "num_units": 1, "pool": 2} | more


def make(version=1, kind=Sifa, **more):
    torch.manual_seed(0)
    return kind(**settings(version, **more))


def uint8_batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    frames, target = torch.randint(0, 256, (2, 2, 1, *SIZE), generator=generator).byte()
    return {"frames": frames, "target_frames": target // 3, "masks": (frames > 180).byte()}


def make_batch(seed=0):
    raw = uint8_batch(seed)
    return {name: value if name == "masks" else value / 255 for name, value in raw.items()}


def fit(task):
    """Two steps in two epochs; the entries of the log."""
    torch.manual_seed(1)
    log = []
    loop.fit(
        task, batches=lambda epoch, _: [uint8_batch(epoch)], validate=lambda task: {"score": 0.5},
        recipe=RECIPE, seed=0, report=log.append,
    )  # fmt: skip
    return log


def squared_error(output, real):
    return ((output - real) ** 2).mean()


def reference_losses(task, batch):
    """The loss of every network by Chen et al. 2019, without shared passes or pools."""
    a, b = batch["frames"] * 2 - 1, batch["target_frames"] * 2 - 1
    ids = batch["masks"][:, 0].long()
    truth = one_hot(ids, num_classes=2)

    def encode(images):
        codes = task.net.encode(images.expand(-1, task.channels, -1, -1))
        return codes if isinstance(codes, tuple) else (codes, None)

    def translate(images):
        return task.translator(images.expand(-1, task.channels, -1, -1))

    fake_b = translate(a)
    (code_fake, deep_fake), (code_b, deep_b) = encode(fake_b), encode(b)
    fake_a, cycle_a = task.decoder(code_b, b), task.decoder(code_fake, fake_b)
    cycle = 10 * (a - cycle_a).abs().mean() + 10 * (b - translate(fake_a)).abs().mean()
    mask_fake, mask_b = task.net.decide(code_fake, SIZE), task.net.decide(code_b, SIZE)

    def discriminate(discriminator, real, fake):
        return 0.5 * (squared_error(discriminator(real), 1) + squared_error(discriminator(fake), 0))

    source_head, cycle_head = (
        lambda images, k=k: task.source_judge(images)[:, k : k + 1] for k in (0, 1)
    )

    def supervised(logits):
        return balanced_cross_entropy(logits, ids) + soft_dice(logits.softmax(dim=1), truth)

    decoder = cycle + squared_error(source_head(fake_a), 1)
    net = supervised(mask_fake) + 0.1 * decoder
    net = net + 0.1 * squared_error(cycle_head(fake_a), 1)
    net = net + 0.1 * squared_error(task.mask_judge(mask_b), 1)
    source = discriminate(source_head, a, fake_a) + discriminate(cycle_head, cycle_a, fake_a)
    losses = {
        "translator": cycle + squared_error(task.target_judge(fake_b), 1),
        "target_judge": discriminate(task.target_judge, b, fake_b),
        "decoder": decoder,
        "source_judge": source,
        "mask_judge": discriminate(task.mask_judge, mask_fake, mask_b),
    }
    if task.version == 2:
        deep_fake, deep_b = (task.net.decide_deep(code, SIZE) for code in (deep_fake, deep_b))
        net = net + 0.1 * supervised(deep_fake)
        net = net + 0.01 * squared_error(task.deep_judge(deep_b), 1)
        losses["deep_judge"] = discriminate(task.deep_judge, deep_fake, deep_b)
    return losses | {"net": net}


@VERSIONS
def test_losses_and_gradients_are_the_published_ones(version):
    task, batch = make(version, pool=0).train(), make_batch()
    task.progress = 1.0
    expected = reference_losses(task, batch)
    assert set(expected) == set(task.networks)
    for network in task.networks:
        parameters = list(task.get_submodule(network).parameters())
        loss = task(batch, network)["loss"]
        assert loss.item() == pytest.approx(expected[network].item(), rel=1e-5), network
        gradients = torch.autograd.grad(loss, parameters)
        reference = torch.autograd.grad(expected[network], parameters, retain_graph=True)
        for gradient, wanted in zip(gradients, reference, strict=True):
            assert torch.allclose(gradient, wanted, rtol=1e-3, atol=1e-6), network


@VERSIONS
def test_networks_are_updated_in_the_published_order(version):
    order = ("translator", "target_judge", "net", "decoder", "source_judge", "mask_judge")
    assert make(version).networks == (*order, *("deep_judge",) * (version == 2))


class Recording(Sifa):
    """Records after each update which parameters have a gradient and which changed."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.updates = []
        self.before = deepcopy(self.state_dict())

    def constrain(self):
        state = deepcopy(self.state_dict())
        graded = {name for name, value in self.named_parameters() if value.grad is not None}
        changed = {n for n, _ in self.named_parameters() if not state[n].equal(self.before[n])}
        self.before = state
        self.updates.append((graded, changed))


@pytest.mark.slow
@VERSIONS
def test_only_the_updated_network_has_gradients_and_changes(version):
    task = make(version, Recording)
    log = fit(task)
    assert len(task.updates) == 2 * len(task.networks)
    for network, (graded, changed) in zip(task.networks * 2, task.updates, strict=True):
        own = {n for n, _ in task.named_parameters() if n.startswith(f"{network}.")}
        assert graded == own >= changed
        assert changed
    for entry in log:
        losses = [entry[f"train_{network}_loss"] for network in task.networks]
        assert all(map(math.isfinite, losses))
        assert entry["train_loss"] == pytest.approx(sum(losses), rel=1e-5)


@pytest.fixture(scope="module", params=[1, 2])
def trained(request):
    """A task of each version after two steps, and its log."""
    task = make(request.param, dropout=0.25)
    return task, fit(task)


@VERSIONS
def test_mixed_precision_changes_losses_by_rounding_only(version):
    plain, mixed = make(version, pool=0).train(), make(version, pool=0).train()
    for network in plain.networks:
        expected = plain(make_batch(), network)["loss"].item()
        with torch.autocast("cpu", torch.bfloat16):
            loss = mixed(make_batch(), network)["loss"]
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(expected, rel=0.05), network


@VERSIONS
def test_only_the_segmenter_has_momentum_and_l2_and_in_version_1_the_full_rate(version):
    task = make(version)
    for network in task.networks:
        adam = optim.build_adam(task, network, replace(RECIPE, l2=1e-4))
        (group,) = adam.param_groups
        is_net = network == "net"
        assert group["betas"] == ((0.9, 0.999) if is_net else (0.5, 0.999))
        assert group["weight_decay"] == (1e-4 if is_net else 0)
        assert group["lr"] == pytest.approx(1e-3 if is_net and version == 1 else 2e-4)
        assert adam.defaults["decoupled_weight_decay"] == (not is_net)
        own = task.get_submodule(network).parameters()
        assert list(map(id, group["params"])) == list(map(id, own))


@pytest.mark.parametrize(
    ("progress", "weight"), [(0, 0), (0.24, 0), (0.25, 0), (0.3, 0.05), (0.35, 0.1), (0.9, 0.1)]
)
def test_the_adversarial_loss_of_masks_warms_up(progress, weight):
    task, second = make().train(), make(2)
    task.progress = second.progress = progress
    assert task.mask_weight() == pytest.approx(weight)
    assert second.mask_weight() == 0.1
    losses = task(make_batch(), "net")
    task.progress = 0.0
    added = (losses["loss"] - task(make_batch(), "net")["loss"]).item()
    assert added == pytest.approx(weight * losses["mask_deceit"].item(), abs=1e-5)


def test_weights_of_the_cycle_and_of_the_segmenter_are_arguments():
    task, batch = make(cycle=2.0, segmenter_share=0.0).train(), make_batch()
    translator, net = task(batch, "translator"), task(batch, "net")
    expected = 2 * translator["translator_cycle"] + translator["translator_deceit"]
    assert translator["loss"].item() == pytest.approx(expected.item())
    assert net["loss"].item() == pytest.approx((net["cross_entropy"] + net["dice"]).item())


class Uncached(Sifa):
    def forward(self, batch, network):
        self.cache = StepCache()
        return super().forward(batch, network)


@pytest.mark.slow
@VERSIONS
def test_shared_forward_passes_change_nothing(version):
    shared, uncached = (make(version, kind) for kind in (Sifa, Uncached))
    assert fit(shared) == fit(uncached)
    assert_equal(*(dict(task.named_parameters()) for task in (shared, uncached)))


@pytest.mark.parametrize(
    ("version", "progress", "losses", "problem"),
    [
        (1, 0.0, {"target_judge": 0.2, "source_judge": 0.3, "mask_judge": 0.1}, ""),
        (1, 0.0, {"target_judge": COLLAPSED / 10}, "target_judge collapsed (loss 1.0e-05)"),
        (1, 0.2, {"mask_judge": 0.0}, ""),  # its loss has no weight yet
        (1, 0.5, {"mask_judge": 0.0}, "mask_judge collapsed (loss 0.0e+00)"),
        (2, 0.0, {"mask_judge": 0.0}, "mask_judge collapsed (loss 0.0e+00)"),
    ],
)
def test_a_discriminator_that_is_never_wrong_is_a_problem(version, progress, losses, problem):
    task = make(version)
    task.progress = progress
    assert task.find_problem(losses) == problem


def test_every_loss_of_a_discriminator_is_checked(trained):
    task, (entry, *_) = trained
    task.progress = 0.5
    losses = {name.removeprefix("train_") for name in entry}
    checked = {name for name in losses if name.endswith(("_judge", "_twin"))}
    assert checked == set(DISCRIMINATOR_LOSSES) - ({"deep_judge"} if task.version == 1 else set())
    assert all(task.find_problem({name: 0.0}).startswith(name) for name in checked)


def numbered(number, shape=(1, 1, 2, 2)):
    return torch.full(shape, float(number))


@pytest.mark.parametrize("size", [0, 3])
def test_a_pool_returns_its_input_until_it_is_full(size):
    pool = ImagePool(size)
    for number in range(size or 20):
        batch = numbered(number)
        assert pool(batch) is batch
    assert len(pool.images) == size


def test_a_full_pool_swaps_in_half_of_the_cases():
    torch.manual_seed(0)
    pool, num_swaps = ImagePool(5), 0
    for number in range(400):
        before = [int(image[0, 0, 0, 0]) for image in pool.images]
        returned = int(pool(numbered(number))[0, 0, 0, 0])
        after = [int(image[0, 0, 0, 0]) for image in pool.images]
        if number < 5:
            continue
        num_swaps += returned != number
        assert after == [number if image == returned else image for image in before]
    assert num_swaps / 395 == pytest.approx(0.5, abs=0.06)


def test_restored_pools_return_the_same_images(trained):
    (task, _), restored = trained, make()
    state = task.buffer_state()
    assert set(state) == {f"{name}.{k}" for name in ("as_target", "as_source") for k in (0, 1)}
    assert not torch.equal(state["as_target.0"], state["as_target.1"])
    assert all(image.abs().max() <= 1 and not image.requires_grad for image in state.values())
    restored.load_buffer_state(state)
    for name in task.pools:
        returned = []
        for pool in (deepcopy(task.pools[name]), restored.pools[name]):
            torch.manual_seed(4)
            returned.append(torch.stack([pool(numbered(n, (2, 1, *SIZE))) for n in range(10)]))
        assert torch.equal(*returned)


@VERSIONS
def test_segmentation_depends_on_the_segmenter_alone(version):
    task = make(version).eval()
    with torch.no_grad():
        for network in set(task.networks) - {"net"}:
            for parameter in task.get_submodule(network).parameters():
                parameter.fill_(math.nan)
        code = task.net.encode(greys().expand(-1, task.channels, -1, -1) * 2 - 1)
        code = code[0] if version == 2 else code
        expected = softmax(task.net.decide(code, SIZE), dim=1)
    assert torch.equal(torch.cat(list(task.predict_probabilities(greys()))), expected)


@VERSIONS
def test_frames_are_translated_and_reconstructed_in_unit_range(version):
    task = make(version).eval()
    translated = {}
    for source in (True, False):
        translated[source], back = task.translate_and_reconstruct(greys(), source=source)
        for images in (translated[source], back):
            assert images.shape == (5, 1, *SIZE)
            assert 0 <= images.min() <= images.max() <= 1
        returned, _ = task.translate_and_reconstruct(translated[source], source=not source)
        assert torch.allclose(returned, back, atol=1e-6)
    assert not torch.equal(translated[True], translated[False])


def test_the_version_overrides_arguments_of_the_segmenter():
    net = partial(SifaSegmenter, num_channels=3, width=1, dropout=0.25, deep=False)
    task = make(2, net=net)
    assert task.channels == task.net.first.in_channels == 1
    assert task.net.deep_out is not None
    assert not any(getattr(part, "p", 0) for part in task.net.modules())
    first = make(1, dropout=0.25).net.modules()
    assert {part.p for part in first if hasattr(part, "p")} == {0.25}


def test_a_restored_checkpoint_segments_and_translates_the_same(tmp_path, trained):
    task, _ = trained
    description = checkpoint.describe(partial(Sifa, **settings(task.version)))
    checkpoint.save(tmp_path / "c", task, description, seed=0)
    restored = checkpoint.load(tmp_path / "c")
    task.eval()
    assert (restored.predict(greys())["masks"] == task.predict(greys())["masks"]).all()
    pairs = (t.translate_and_reconstruct(greys(), source=True) for t in (restored, task))
    assert all(torch.equal(*images) for images in zip(*pairs, strict=True))


@pytest.mark.parametrize(
    ("version", "count"),
    [
        (1, 2_852_673 + 27_520_016 + 1_902_848 + 2_763_520 + 2_771_712 + 2_764_544),
        (2, 2_849_537 + 27_519_472 + 1_902_848 + 2_763_520 + 2_771_712 + 2 * 2_764_544),
    ],
)
def test_full_size_networks_have_the_published_number_of_parameters(version, count):
    with torch.device("meta"):
        task = Sifa(version=version)
    assert sum(value.numel() for value in task.parameters()) == count
