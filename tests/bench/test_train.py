"""A bare loop that trains something else is refused."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from lus_ray.bench import train
from lus_ray.errors import LusError

UNET, NUM_CLIPS, LOSS = train.loop_cases(32)["U-Net"]


def test_a_loop_that_does_other_work_gets_no_ratio():
    task, start = train.build_task(UNET)
    data = train.batches(task, NUM_CLIPS, 1)

    def double_loss(net: nn.Module, frames: Tensor, batch: train.Batch) -> Tensor:
        return 2 * LOSS(net, frames, batch)

    ours = partial(train.with_fit, task, data, start)
    doubled = partial(train.with_bare_loop, task, data, start, double_loss)
    with pytest.raises(LusError, match="the U-Net has a mean loss of"):
        train.check_equal(ours, doubled, "U-Net", task=task)


def test_an_epoch_changes_the_weights_and_the_next_one_starts_from_the_same():
    task, start = train.build_task(UNET)
    data = train.batches(task, NUM_CLIPS, 2)
    first = train.with_fit(task, data, start)
    assert not torch.equal(task.state_dict()["net.out.weight"], start["net.out.weight"])
    assert train.with_fit(task, data, start) == first


def test_weights_that_differ_get_no_ratio():
    task, _ = train.build_task(UNET)

    def change_weights() -> float:
        with torch.no_grad():
            task.get_parameter("net.out.bias").add_(1)
        return 0.0

    with pytest.raises(LusError, match=r"the U-Net has another net\.out\.bias than ours"):
        train.check_equal(lambda: 0.0, change_weights, "U-Net", task=task)
