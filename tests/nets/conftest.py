"""Networks of this size are quicker on one thread, and so are their neighbours on the machine."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

SIZE = (40, 80)
"""Multiples of the strides of all networks: 4, 8 and 20."""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def images() -> Tensor:
    """Three frames or, for a network of images, three colours: (3, 3, H, W) in [0, 1]."""
    return torch.rand(3, 3, *SIZE, generator=torch.Generator().manual_seed(0))
