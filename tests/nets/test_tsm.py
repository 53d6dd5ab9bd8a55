"""TSM: the temporal shift, the mean over frames, and the start of the head."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lus_ray.nets import TSM
from lus_ray.nets.tsm import temporal_shift


def test_the_first_eighth_comes_from_the_next_frame_and_the_second_from_the_previous():
    batch = torch.tensor([1.0, 2, 3, 10, 20, 30])[:, None, None, None].repeat(1, 16, 1, 1)
    shifted = temporal_shift(batch, 3)[:, :, 0, 0].T
    assert shifted[:2].tolist() == [[2, 3, 0, 20, 30, 0]] * 2
    assert shifted[2:4].tolist() == [[0, 1, 2, 0, 10, 20]] * 2
    assert torch.equal(shifted[4:], batch[:, 4:, 0, 0].T)


@settings(max_examples=20, deadline=None)
@given(
    num_clips=st.integers(1, 3),
    num_frames=st.integers(1, 5),
    channels=st.integers(1, 20),
    parts=st.integers(2, 8),
    layout=st.sampled_from([torch.channels_last, torch.contiguous_format]),
)
def test_the_gradient_is_the_transpose(num_clips, num_frames, channels, parts, layout):
    shape = (num_clips * num_frames, channels, 2, 3)
    x = torch.randn(shape).to(memory_format=layout).requires_grad_()
    y = torch.randn(shape)
    shifted = temporal_shift(x, num_frames, parts)
    (gradient,) = torch.autograd.grad(shifted, x, y)
    # <shift x, y> = <x, shift' y>, and a shift keeps or drops values, so it lengthens nothing.
    torch.testing.assert_close((shifted * y).sum(), (x * gradient).sum(), atol=1e-4, rtol=1e-4)
    assert shifted.norm() <= x.norm() * (1 + 1e-6)
    assert shifted.shape == x.shape


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
