"""One class per clip: labels of one's own, and ordered classes."""

from functools import partial

import pytest
import torch

from lus_ray.data.transforms.view import View
from lus_ray.errors import ArmError
from lus_ray.nets import TSM
from lus_ray.tasks import ClipLabel
from lus_ray.training import checkpoint

GRADES = ("mild", "moderate", "severe")
grade = partial(
    ClipLabel, backbone=partial(TSM, width=8), label="grade", classes=GRADES,
    view=View(num_frames=2, height=16, width=16, num_samples=1),
)  # fmt: skip


def loss(task, logits, target):
    task.net = lambda frames: torch.tensor([logits])
    return float(task({"frames": torch.zeros(1), "grade": torch.tensor([target])}, "net")["loss"])


def plain(**more):
    """The task with a function instead of its network."""
    task = grade(**more)
    del task.net
    return task


def test_a_label_of_ones_own_is_read_from_the_labels_of_a_clip():
    task = grade()
    assert task.classes == GRADES
    assert task.target({"clip": "c", "labels": {"grade": "severe"}}) == 2
    assert task.target({"clip": "c", "labels": None}) is None


def test_ordered_classes_forgive_a_near_class_more_than_a_far_one():
    ordered, named = plain(ordered=True), plain()
    near, far = ([0.0, 4.0, 0.0], [4.0, 0.0, 0.0])
    assert loss(ordered, near, 2) < loss(ordered, far, 2)
    assert loss(named, near, 2) == pytest.approx(loss(named, far, 2))
    targets = torch.softmax(-2 * torch.tensor([4.0, 1.0, 0.0]), dim=0)
    expected = -(targets * torch.log_softmax(torch.tensor(near), dim=0)).sum()
    assert loss(ordered, near, 2) == pytest.approx(float(expected))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"classes": ()}, "'grade' has no classes"),
        ({"classes": ("mild",)}, "'grade' has one class"),
        ({"ordered": True, "smoothing": 0.1}, "smoothing is 0.1"),
    ],
)
def test_labels_without_two_classes_and_targets_softened_twice_are_refused(more, words):
    with pytest.raises(ArmError, match=words):
        grade(**more)


def test_a_checkpoint_keeps_classes_and_order(tmp_path):
    factory = partial(grade, ordered=True)
    task = factory().eval()
    checkpoint.save(tmp_path / "c", task, checkpoint.describe(factory), seed=0)
    loaded = checkpoint.load(tmp_path / "c")
    assert (loaded.classes, loaded.label) == (GRADES, "grade")
    assert torch.equal(loaded.targets, task.targets)
    frames = torch.rand(1, 2, 16, 16)
    assert loaded.predict(frames)["outputs"] == pytest.approx(task.predict(frames)["outputs"])


def test_a_description_of_an_earlier_version_takes_the_defaults_of_new_arguments():
    described = checkpoint.describe(partial(grade, label="severity", classes=()))
    earlier = {**described, "arguments": {**described["arguments"]}}
    for name in ("classes", "ordered"):
        del earlier["arguments"][name]
    assert checkpoint.with_current_names(earlier) == described
