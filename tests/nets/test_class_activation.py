"""Class activation maps of the networks of clips."""

from functools import partial

import pytest
import torch
from torch.testing import assert_close

from lus_ray.nets import I3D, TSM
from lus_ray.nets.class_activation import class_activation

NETS = {
    "TSM": partial(TSM, 3, num_frames=4, width=8),
    "I3D": partial(I3D, 3, width=4, layers=(1, 1, 1, 1)),
}


@pytest.mark.parametrize("name", NETS)
def test_the_mean_of_a_map_is_its_logit_without_the_bias(name):
    torch.manual_seed(0)
    net = NETS[name]().eval()
    frames = torch.rand(2, 4, 64, 64)
    mix = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.0, -2.0]])
    with torch.no_grad():
        logits = net(frames) - net.get_submodule(net.head_name).bias
        maps = class_activation(net, frames, mix)
    assert maps.shape[-2:] == (2, 2)
    assert_close(maps.mean(dim=(1, 3, 4)), logits @ mix.T, rtol=1e-4, atol=1e-5)
