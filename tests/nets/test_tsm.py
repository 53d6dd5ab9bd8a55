"""TSM: the temporal shift, and that nothing else differs from a ResNet."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lus_ray.errors import ArmError
from lus_ray.nets import TSM, resnet18
from lus_ray.nets.tsm import temporal_shift


def clip(*frames: float, channels: int = 8) -> torch.Tensor:
    """Frames (T, C, 1, 1), each of a single value."""
    values = torch.tensor(frames, dtype=torch.float32)
    return values[:, None, None, None].expand(-1, channels, 1, 1).contiguous()


def test_the_first_eighth_comes_from_the_next_frame_and_the_second_from_the_previous():
    batch = torch.cat([clip(1, 2, 3), clip(10, 20, 30)])
    shifted = temporal_shift(batch, 3)[:, :, 0, 0]
    assert shifted[:, 0].tolist() == [2, 3, 0, 20, 30, 0]
    assert shifted[:, 1].tolist() == [0, 1, 2, 0, 10, 20]
    assert torch.equal(shifted[:, 2:], batch[:, 2:, 0, 0])


def test_in_a_still_clip_only_the_end_frames_lose_an_eighth_each():
    still = clip(1, 1, 1, 1, channels=64)
    shifted = temporal_shift(still, 4)
    assert torch.equal(shifted[1:3], still[1:3])
    assert (shifted == 0).sum(dim=(1, 2, 3)).tolist() == [8, 0, 0, 8]


def test_the_gradient_is_that_of_finite_differences():
    x = torch.rand(6, 8, 2, 1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: temporal_shift(x, 3), x)


@settings(max_examples=50, deadline=None)
@given(
    num_clips=st.integers(1, 3),
    num_frames=st.integers(1, 5),
    channels=st.integers(1, 20),
    parts=st.integers(2, 8),
    layout=st.sampled_from([torch.channels_last, torch.contiguous_format]),
)
def test_the_gradient_is_the_transpose(
    num_clips: int, num_frames: int, channels: int, parts: int, layout: torch.memory_format
):
    shape = (num_clips * num_frames, channels, 2, 3)
    x = torch.randn(shape).to(memory_format=layout).requires_grad_()
    y = torch.randn(shape)
    shifted = temporal_shift(x, num_frames, parts)
    (gradient,) = torch.autograd.grad(shifted, x, y)
    # <shift x, y> = <x, shift' y>, and a shift keeps or drops values, so it lengthens nothing.
    torch.testing.assert_close((shifted * y).sum(), (x * gradient).sum(), atol=1e-4, rtol=1e-4)
    assert shifted.norm() <= x.norm() * (1 + 1e-6)
    assert shifted.shape == x.shape


def test_names_and_sizes_are_those_of_a_resnet():
    shapes = [{n: t.shape for n, t in net.state_dict().items()} for net in (TSM(1000), resnet18())]
    assert shapes[0] == shapes[1]


def test_all_eight_blocks_shift_before_their_first_convolution_and_shortcuts_do_not():
    net = TSM(2, width=8, num_frames=3).eval()
    inputs = {}
    for name, module in net.named_modules():
        is_block = name.startswith("layer") and name.count(".") == 1
        if is_block or name.endswith((".conv1", ".downsample.0")):
            module.register_forward_pre_hook(lambda _, x, name=name: inputs.update({name: x[0]}))
    with torch.no_grad():
        net(torch.rand(2, 3, 64, 64))
    for block in (f"layer{stage}.{position}" for stage in (1, 2, 3, 4) for position in (0, 1)):
        assert torch.equal(inputs[f"{block}.conv1"], temporal_shift(inputs[block], 3)), block
    for stage in (2, 3, 4):
        assert torch.equal(inputs[f"layer{stage}.0.downsample.0"], inputs[f"layer{stage}.0"])


def test_logits_are_the_mean_over_the_frames_before_any_softmax():
    net = TSM(3, width=8, num_frames=4).eval()
    pooled = []
    net.dropout.register_forward_pre_hook(lambda _, x: pooled.append(x[0]))
    with torch.no_grad():
        logits = net(torch.rand(2, 4, 32, 32))
        per_frame = net.fc(pooled[0]).unflatten(0, (2, 4))
    torch.testing.assert_close(logits, per_frame.mean(dim=1))


def test_the_order_of_frames_matters_and_the_order_of_clips_does_not():
    net, frames = TSM(3, width=8, num_frames=4).eval(), torch.rand(2, 4, 48, 48)
    with torch.no_grad():
        torch.testing.assert_close(net(frames.flip(0)), net(frames).flip(0))
        assert not torch.allclose(net.features(frames.flip(1)), net.features(frames), atol=1e-4)


def test_grey_is_normalised_as_imagenet_was_in_each_colour():
    net = TSM(2, width=8, num_frames=1).eval()
    inputs = []
    net.conv1.register_forward_pre_hook(lambda _, x: inputs.append(x[0]))
    net(torch.full((1, 1, 32, 32), 0.485))
    expected = torch.tensor([0, (0.485 - 0.456) / 0.224, (0.485 - 0.406) / 0.225])
    torch.testing.assert_close(inputs[0][0, :, 0, 0], expected)


def test_the_last_layer_begins_almost_at_zero():
    net = TSM(100)
    assert net.fc.weight.std().item() == pytest.approx(0.001, rel=0.05)
    assert not net.fc.bias.any()


def test_a_clip_of_another_length_and_a_width_without_a_shift_are_refused():
    with pytest.raises(ArmError, match=r"8 frames where 15 are expected.*num_frames"):
        TSM(2, width=8)(torch.rand(1, 8, 32, 32))
    with pytest.raises(ArmError, match="width 4"):
        TSM(2, width=4)
