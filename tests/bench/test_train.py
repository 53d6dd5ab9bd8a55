"""A bare loop learns what ours learns; speed itself is not asserted."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from lus_ray.bench import train
from lus_ray.errors import LusError

NETS = ("FrameCNN", "TSM", "U-Net")


def test_every_network_is_measured():
    results = train.measure(1, num_steps=2, side=32)
    assert tuple(results) == NETS
    for measured in results.values():
        assert [baseline.name for baseline in measured.baselines] == ["bare loop"]
        assert measured.target == pytest.approx(0.97, abs=0.001)


@pytest.mark.parametrize("name", NETS)
def test_a_loop_that_does_other_work_gets_no_ratio(name: str):
    study = train.studies(32)[name]
    task = train.build_task(study)
    start = {key: value.clone() for key, value in task.state_dict().items()}
    data = train.batches(study, 2, 32)
    ours = partial(train.with_fit, task, data, start)

    def doubled(net: nn.Module, frames: Tensor, batch: train.Batch) -> Tensor:
        return 2 * study.loss(net, frames, batch)

    train.check_equal(
        ours, partial(train.with_bare_loop, task, data, start, study.loss), task, name
    )
    with pytest.raises(LusError, match=f"the bare loop of {name} has a mean loss of"):
        train.check_equal(
            ours, partial(train.with_bare_loop, task, data, start, doubled), task, name
        )


def test_an_epoch_changes_the_weights_and_the_next_one_begins_as_it_did():
    study = train.studies(32)["U-Net"]
    task = train.build_task(study)
    start = {key: value.clone() for key, value in task.state_dict().items()}
    data = train.batches(study, 2, 32)
    first = train.with_fit(task, data, start)
    assert not torch.equal(task.state_dict()["net.out.weight"], start["net.out.weight"])
    assert train.with_fit(task, data, start) == first


def test_weights_that_differ_get_no_ratio():
    task = train.build_task(train.studies(32)["U-Net"])

    def moved() -> float:
        with torch.no_grad():
            task.get_parameter("net.out.bias").add_(1)
        return 0.0

    with pytest.raises(LusError, match=r"the bare loop has another net\.out\.bias than ours"):
        train.check_equal(lambda: 0.0, moved, task, "U-Net")
