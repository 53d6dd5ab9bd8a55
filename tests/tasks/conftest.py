"""What the tests of several tasks share."""

from functools import partial

import torch
from torch import Tensor
from torch.testing import assert_close

from lus_ray.data.transforms.view import View

SIZE = (16, 24)
VIEW = View(num_frames=1, height=16, width=24, num_samples=0)
assert_equal = partial(assert_close, rtol=0, atol=0)


def greys(num_frames: int = 5, seed: int = 0) -> Tensor:
    return torch.rand(num_frames, 1, *SIZE, generator=torch.Generator().manual_seed(seed))
