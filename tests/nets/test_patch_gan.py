"""What paints images of a domain and what judges them: published layers and sizes, and ranges."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lus_ray.errors import ArmError
from lus_ray.nets import SifaSegmenter
from lus_ray.nets.patch_gan import PatchDiscriminator, SifaDecoder, SifaGenerator

SIZE = (16, 24)

TINY: dict[str, Callable[[], nn.Module]] = {
    "SifaGenerator": lambda: SifaGenerator(width=2, num_units=2),
    "SifaDecoder": lambda: SifaDecoder(8, width=2, num_units=2),
    "PatchDiscriminator": lambda: PatchDiscriminator(3, 2, width=2),
}


@pytest.fixture(params=sorted(TINY))
def net(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    return TINY[request.param]()


def inputs(net: nn.Module) -> tuple[Tensor, ...]:
    """Two images in [-1, 1] for each kind of network; latent maps before them for a decoder."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, *SIZE, generator=generator) * 2 - 1
    if not isinstance(net, SifaDecoder):
        return (images,)
    return torch.rand(2, 8, SIZE[0] // 8, SIZE[1] // 8, generator=generator), images[:, :1]


COUNTS: list[tuple[Callable[[], nn.Module], int]] = [
    (lambda: SifaGenerator(), 2_852_673),
    (lambda: SifaGenerator(1), 2_849_537),
    (lambda: SifaDecoder(), 1_902_848),
    (lambda: PatchDiscriminator(), 2_763_520),
    (lambda: PatchDiscriminator(num_outputs=2), 2_771_712),
    (lambda: PatchDiscriminator(2), 2_764_544),
]


@pytest.mark.parametrize(("make", "count"), COUNTS)
def test_numbers_of_parameters_are_the_published_ones(make: Callable[[], nn.Module], count: int):
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in make().parameters()) == count


def test_images_of_256_x_256_are_painted_whole_and_judged_in_35_x_35_patches():
    with torch.device("meta"):
        painted = SifaGenerator()(torch.zeros(2, 3, 256, 256))
        assert painted.shape == (2, 1, 256, 256)
        again = SifaDecoder()(torch.zeros(2, 512, 32, 32), painted)
        assert again.shape == (2, 1, 256, 256)
        assert PatchDiscriminator(num_outputs=2)(again).shape == (2, 2, 35, 35)


def test_a_patch_has_70_x_70_pixels():
    judge = PatchDiscriminator(width=1)
    for name, module in judge.layers.named_children():
        if isinstance(module, nn.InstanceNorm2d):  # it would let every patch see all pixels
            setattr(judge.layers, name, nn.Identity())
        if isinstance(module, nn.Conv2d):
            nn.init.ones_(module.weight)
    images = torch.ones(1, 1, 256, 256, requires_grad=True)
    judge(images)[0, 0, 17, 17].backward()
    assert images.grad is not None
    seen = images.grad[0, 0].nonzero()
    assert (seen.amax(0) - seen.amin(0) + 1).tolist() == [70, 70]


def test_a_judge_normalises_all_layers_but_the_first_and_the_last():
    kinds = [type(module).__name__ for module in PatchDiscriminator(width=1).layers]
    layer = ["Conv2d", "InstanceNorm2d", "LeakyReLU"]
    assert kinds == ["Conv2d", "LeakyReLU", *layer, *layer, *layer, "Conv2d"]


def test_a_judge_leaks_a_fifth():
    slopes = {
        m.negative_slope
        for m in PatchDiscriminator(width=1).modules()
        if isinstance(m, nn.LeakyReLU)
    }
    assert slopes == {0.2}


def test_normalisations_are_those_of_the_released_code(net: nn.Module):
    norms = [module for module in net.modules() if isinstance(module, nn.InstanceNorm2d)]
    assert {(norm.eps, norm.affine, norm.track_running_stats) for norm in norms} == {
        (1e-6, True, False)
    }


def test_weights_begin_normal_within_two_deviations():
    torch.manual_seed(0)
    for net in (SifaGenerator(width=8), SifaDecoder(64, width=8), PatchDiscriminator(width=8)):
        for name, parameter in net.named_parameters():
            of_unit = isinstance(net, SifaDecoder) and ".body." in name
            if parameter.dim() == 4:
                std = 0.01 if of_unit else 0.02
                assert 1.8 * std < parameter.abs().max() <= 2 * std, name
            elif name.endswith("bias"):
                assert (parameter == 0).all(), name


def test_what_is_painted_begins_with_the_image():
    translator, decoder = SifaGenerator(width=2), SifaDecoder(8, width=2)
    for net in (translator, decoder):
        for parameter in net.layers[-1].parameters():
            nn.init.zeros_(parameter)
    (images,) = inputs(translator)
    assert torch.equal(translator(images), images[:, :1].tanh())
    latent, grey = inputs(decoder)
    assert torch.equal(decoder(latent, grey), grey.tanh())


def test_nothing_is_dropped_while_training(net: nn.Module):
    assert torch.equal(net(*inputs(net)), net(*inputs(net)))


def test_every_image_is_painted_or_judged_by_itself(net: nn.Module):
    together = net(*inputs(net))
    alone = torch.cat([net(*(part[i : i + 1] for part in inputs(net))) for i in range(2)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


@settings(max_examples=15, deadline=None)
@given(
    width=st.integers(1, 3),
    rows=st.integers(2, 4),
    columns=st.integers(1, 4),
    gain=st.sampled_from([0.0, 1.0, 100.0]),
)
def test_what_is_painted_is_finite_and_between_minus_one_and_one(
    width: int, rows: int, columns: int, gain: float
):
    torch.manual_seed(0)
    images = (torch.rand(2, 3, 8 * rows, 8 * columns) * 2 - 1) * gain
    painted = SifaGenerator(width=width, num_units=1)(images)
    latent = SifaSegmenter(2, width=width).encode(images)
    assert isinstance(latent, Tensor)
    again = SifaDecoder(32 * width, width=width, num_units=1)(latent, painted)
    for result in (painted, again):
        assert result.shape == (2, 1, 8 * rows, 8 * columns)
        assert torch.isfinite(result).all()
        assert result.abs().max() <= 1


def test_gradients_are_finite_and_reach_every_weight(net: nn.Module):
    net(*inputs(net)).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        # Not biases: the one before a normalisation changes nothing.
        assert not name.endswith("weight") or parameter.grad.abs().max() > 0, name


def test_ten_steps_lower_the_loss(net: nn.Module):
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3, betas=(0.5, 0.999))
    losses = []
    for _ in range(10):
        loss = (net(*inputs(net)) - 0.5).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_inputs_are_left_as_they_were(net: nn.Module):
    parts = inputs(net)
    kept = [part.clone() for part in parts]
    net(*parts)
    assert all(torch.equal(part, copy) for part, copy in zip(parts, kept, strict=True))


def test_weights_survive_safetensors(net: nn.Module, tmp_path: Path):
    save_file(net.state_dict(), tmp_path / "weights.safetensors")
    torch.manual_seed(1)
    again = TINY[type(net).__name__]()
    again.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    assert torch.equal(again(*inputs(net)), net(*inputs(net)))


def test_channels_last_gives_the_same(net: nn.Module):
    with torch.no_grad():
        expected = net(*inputs(net))
        other = net.to(memory_format=torch.channels_last)(
            *(part.contiguous(memory_format=torch.channels_last) for part in inputs(net))
        )
    torch.testing.assert_close(other, expected, atol=1e-5, rtol=1e-4)


def test_bfloat16_autocast_stays_close_and_its_gradients_point_the_same_way(net: nn.Module):
    def values_and_gradients() -> tuple[Tensor, Tensor]:
        net.zero_grad()
        values = net(*inputs(net)).float()
        values.square().mean().backward()
        gradients = [p.grad.flatten() for p in net.parameters() if p.grad is not None]
        return values.detach(), torch.cat(gradients)

    values, gradients = values_and_gradients()
    with torch.autocast("cpu", torch.bfloat16):
        mixed_values, mixed_gradients = values_and_gradients()
    assert (mixed_values - values).norm() < 0.05 * values.norm()
    assert torch.cosine_similarity(mixed_gradients, gradients, dim=0) > 0.9


def test_latent_maps_of_another_image_are_refused():
    trouble = "latent maps of 2 x 3 for images of 16 x 16; give those of the same images, 2 x 2"
    with pytest.raises(ArmError, match=trouble):
        SifaDecoder(8, width=1)(torch.zeros(1, 8, 2, 3), torch.zeros(1, 1, 16, 16))


def test_images_whose_sides_are_no_multiples_of_eight_are_not_painted():
    trouble = "images of 12 x 16; give sides that are multiples of 8, such as 16 x 16"
    with pytest.raises(ArmError, match=f"SifaGenerator: {trouble}"):
        SifaGenerator(width=1)(torch.zeros(1, 3, 12, 16))
    with pytest.raises(ArmError, match=f"SifaDecoder: {trouble}"):
        SifaDecoder(8, width=1)(torch.zeros(1, 8, 2, 2), torch.zeros(1, 1, 12, 16))


@pytest.mark.parametrize("kind", [SifaGenerator, SifaDecoder, PatchDiscriminator])
def test_no_width_is_refused(kind: type[nn.Module]):
    with pytest.raises(ArmError, match=f"{kind.__name__}: width 0; give 1 or more"):
        kind(width=0)
