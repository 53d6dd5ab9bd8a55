"""I3D: strides, temporal reach, the start of its blocks, and normalisation."""

import torch

from lus_ray.nets import I3D


def test_the_temporal_reach_alternates():
    with torch.device("meta"):
        net = I3D(400)
    reach = [
        [block.branch2.conv_a.kernel_size[0] for block in net.blocks[number].res_blocks]
        for number in (1, 3, 4, 5)
    ]
    assert reach == [[3, 3, 3], [3, 1, 3, 1], [3, 1, 3, 1, 3, 1], [1, 3, 1]]


def test_time_is_halved_once_and_images_shrink_by_32():
    net = I3D(2, width=4, layers=(1, 1, 1, 1)).eval()
    sizes = []
    net.blocks[5].register_forward_hook(lambda _, __, out: sizes.append(out.shape))
    for num_frames in (8, 15, 2):
        net(torch.rand(1, num_frames, 64, 96))
    assert sizes == [(1, 128, length, 2, 3) for length in (4, 7, 1)]


def test_a_fresh_block_adds_nothing_to_its_shortcut():
    block = I3D(2, width=4).blocks[1].res_blocks[1].eval()
    x = torch.rand(1, 16, 3, 5, 5)
    assert torch.equal(block(x.clone()), x)


def test_grey_is_normalised_as_kinetics_was():
    net = I3D(2, width=4, layers=(1, 1, 1, 1)).eval()
    inputs = []
    net.blocks[0].register_forward_pre_hook(lambda _, x: inputs.append(x[0]))
    net(torch.full((1, 2, 32, 32), 0.675))
    torch.testing.assert_close(inputs[0], torch.ones(1, 3, 2, 32, 32))
