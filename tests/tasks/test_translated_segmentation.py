"""SIFA on its source the long way: what is outlined, that an arm can join it, and its settings."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from experiments.bline_adaptation import EXPERIMENT
from lus_ray.data.transforms.view import View
from lus_ray.errors import ArmError
from lus_ray.nets import SifaSegmenter
from lus_ray.orchestration import run_options
from lus_ray.tasks import Sifa, TranslatedSegmentation, translated_segmentation

VIEW = View(num_frames=1, height=16, width=24, num_samples=0)
net = partial(SifaSegmenter, width=1)


def made(version=1):
    torch.manual_seed(0)
    task = TranslatedSegmentation(
        (partial(Sifa, net=net, view=VIEW, version=version, num_units=1, pool=2),)
    )
    for parameter in task.parameters():
        if parameter.ndim > 1:
            torch.nn.init.kaiming_normal_(parameter)
    return task.eval()


def greys(num_frames=3):
    return torch.rand(num_frames, 1, 16, 24, generator=torch.Generator().manual_seed(1))


def said(task, frames):
    return torch.cat(list(task.predict_probabilities(frames)))


@pytest.mark.parametrize("version", [1, 2])
def test_frames_are_outlined_as_the_target_would_show_them(version, monkeypatch):
    task, frames = made(version), greys()
    (sifa,) = task.net
    other, _ = sifa.translate_and_reconstruct(frames, source=True)
    assert torch.equal(said(task, frames), said(sifa, other))
    assert not torch.allclose(said(task, frames), said(sifa, frames), atol=0.01)
    monkeypatch.setattr(translated_segmentation, "CHUNK_PIXELS", 2 * 16 * 24)
    assert [len(part) for part in task.predict_probabilities(frames)] == [2, 1]
    assert torch.allclose(said(task, frames), said(sifa, other), atol=1e-5)


def test_it_takes_scheme_view_and_monitor_of_its_sifa():
    task = made()
    assert (task.scheme, task.view, task.monitor) == ("bline", VIEW, "dice")
    assert task.label == "bline masks"


@pytest.mark.parametrize("number", [0, 2])
def test_it_is_of_one_sifa_alone(number):
    with pytest.raises(ArmError, match=f"Translated: {number} members; give one SIFA") as caught:
        TranslatedSegmentation((partial(Sifa, net=net, view=VIEW),) * number)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", ["smoke", "laptop", "full"])
def test_a_setting_of_every_arm_reaches_the_sifa_that_is_joined_too(size):
    chosen = run_options.apply_options(
        EXPERIMENT, size, settings=["arm.task.pool=3", "arm.task.version=2"]
    )
    joined = [
        arm for arm in chosen.arms if getattr(arm.task, "func", None) is TranslatedSegmentation
    ]
    assert len(joined) == 3
    for arm in joined:
        (member,), (name,) = arm.task.keywords["members"], arm.members
        trained = chosen.arm(name).task
        assert (member.func, trained.func) == (Sifa, Sifa)
        assert (member.keywords["pool"], member.keywords["version"]) == (3, 2)
        assert {**member.keywords, "net": 0} == {**trained.keywords, "net": 0}
        one, other = (task.keywords["net"] for task in (member, trained))
        assert getattr(one, "keywords", {}) == getattr(other, "keywords", {})


def test_only_the_source_is_outlined_the_long_way():
    for name in ("sifa covid→cap", "sifa reduced covid→cap", "sifa cap→covid"):
        arm, trained = (EXPERIMENT.arm(n) for n in (f"{name}, translated", name))
        assert arm.rows == replace(arm.rows, where=trained.rows.learns)
        assert arm.members == (name,)
        assert arm.recipe is None
