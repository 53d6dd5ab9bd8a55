"""SIFA on translated frames of its source: what it predicts, and its settings in the study."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from experiments.bline_adaptation import EXPERIMENT
from lus_ray.nets import SifaSegmenter
from lus_ray.orchestration import run_options
from lus_ray.tasks import Sifa, TranslatedSegmentation
from tests.tasks.conftest import VIEW, greys


@pytest.mark.parametrize("version", [1, 2])
def test_translated_frames_are_segmented(version):
    torch.manual_seed(0)
    net = partial(SifaSegmenter, width=1)
    task = TranslatedSegmentation(
        (partial(Sifa, net=net, view=VIEW, version=version, num_units=1, pool=2),)
    ).eval()
    for parameter in task.parameters():
        if parameter.ndim > 1:
            torch.nn.init.kaiming_normal_(parameter)
    assert (task.scheme, task.view, task.monitor) == ("bline", VIEW, "dice")
    (sifa,) = task.net
    frames = greys(3, seed=1)
    translated, _ = sifa.translate_and_reconstruct(frames, source=True)
    probability, expected, plain = (
        torch.cat(list(segmenter.predict_probabilities(images)))
        for segmenter, images in ((task, frames), (sifa, translated), (sifa, frames))
    )
    assert torch.equal(probability, expected)
    assert not torch.allclose(probability, plain, atol=0.01)


@pytest.mark.parametrize("size", ["smoke", "full"])
def test_settings_of_all_arms_reach_the_member_too(size):
    chosen = run_options.apply_options(
        EXPERIMENT, size, settings=["arm.task.pool=3", "arm.task.version=2"]
    )
    translated = [
        arm for arm in chosen.arms if getattr(arm.task, "func", None) is TranslatedSegmentation
    ]
    direct = {arm.name for arm in chosen.arms if getattr(arm.task, "func", None) is Sifa}
    assert direct == {name for arm in translated for name in arm.members}
    for arm in translated:
        (member,), (name,) = arm.task.keywords["members"], arm.members
        trained = chosen.arm(name).task
        assert (member.func, trained.func) == (Sifa, Sifa)
        assert (member.keywords["pool"], member.keywords["version"]) == (3, 2)
        assert {**member.keywords, "net": 0} == {**trained.keywords, "net": 0}
        nets = (task.keywords["net"] for task in (member, trained))
        arguments, expected = (getattr(net, "keywords", {}) for net in nets)
        assert arguments == expected


@pytest.mark.parametrize("name", ["sifa covid→cap", "sifa reduced covid→cap", "sifa cap→covid"])
def test_only_frames_of_the_source_are_translated(name):
    arm, trained = EXPERIMENT.arm(f"{name}, translated"), EXPERIMENT.arm(name)
    assert arm.rows == replace(arm.rows, where=trained.rows.learns)
    assert (arm.members, arm.recipe) == ((name,), None)
