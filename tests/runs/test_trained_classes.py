"""The classes of a cell's training rows, which its prediction table records."""

from dataclasses import asdict
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from lus_ray.clip import BIOMARKERS, MASK_SCHEMES
from lus_ray.data.loading.batches import InMemory, size_of
from lus_ray.data.transforms.view import View
from lus_ray.experiment import Arm, Experiment
from lus_ray.folds import rotating
from lus_ray.nets import TSM, UNet
from lus_ray.runs import predictions, trained_classes
from lus_ray.runs.cell import Cell
from lus_ray.runs.layout import RunFolder
from lus_ray.runs.plan import RunPlan
from lus_ray.tasks import Biomarkers, Expert, MergedClasses, Segmentation

VIEW = View(num_frames=1, height=8, width=8, num_samples=0)
NOTHING = InMemory({})


def masks(ids, *, images=None):
    """The dense classes that a segmenter of B-lines finds in clips with these mask ids."""
    task = Segmentation(partial(UNet, widths=(4, 8)), "dense", VIEW)
    rows = [{"clip": "c", "mask_scheme": "dense", "images": images}]
    pixels = InMemory({}, {size_of(VIEW): {"c": np.array(ids, np.uint8)[:, None, None]}})
    return trained_classes.find(task, rows, pixels)


def labels(*values):
    task = Biomarkers(partial(TSM, width=8), View(num_frames=2, height=16, width=16))
    unjudged = [-1] * (len(BIOMARKERS) - 1)
    return trained_classes.find(task, [{"biomarkers": [v, *unjudged]} for v in values], NOTHING)


def test_a_class_of_clips_is_trained_where_a_training_clip_has_it():
    task = Expert("prior", "severity")
    rows = [{"severity": severity} for severity in (0, 3, None, 0)]
    assert trained_classes.find(task, rows, NOTHING) == ("0", "3")


def test_a_score_of_frames_is_trained_where_a_training_frame_has_it():
    task = Expert("prior", "frame_severity")
    rows = [{"frame_severity": scores} for scores in ([0, 0, 2], [1], None)]
    assert trained_classes.find(task, rows, NOTHING) == ("0", "1", "2")


def test_a_label_is_trained_where_training_clips_hold_both_values():
    assert labels(0, 1, -1) == BIOMARKERS[:1]
    assert labels(1, 1) == labels(0, -1) == labels() == ()


def test_a_class_of_masks_is_trained_where_a_training_frame_shows_it():
    dense = MASK_SCHEMES["dense"]
    assert masks([0, 2, 2]) == (dense[0], dense[2])
    assert masks([0, 2, 1], images=[(0, 0), (2, 3)]) == dense[:2]


@pytest.fixture
def plan(tmp_path):
    folder = RunFolder.create(tmp_path)
    study = Experiment("t", "t", rotating(3), (Arm("one", Expert),), ("auc",))
    plan = RunPlan(study, "smoke", folds=(), rows=[], fingerprint="f", folder=folder)
    known = {"severity": (("0", "1"), ("0",)), "dense": (MASK_SCHEMES["dense"], ("background",))}
    for name, (classes, trained) in known.items():
        info = predictions.PredictionInfo(name, 0, name, classes, False, "f", trained=trained)
        predictions.write(plan.folder_of(Cell(name, 0)).predictions, [], info)
    old = predictions.PredictionInfo("old", 0, "severity", ("0", "1"), False, "f")
    assert asdict(old)["trained"] is None
    predictions.write(plan.folder_of(Cell("old", 0)).predictions, [], old)
    return plan


@pytest.mark.parametrize(
    ("classes", "arm", "trained"),
    [
        (("0", "1"), Arm("rule", Expert, reads="severity"), ("0",)),
        (("0", "1"), Arm("mean", Expert, members=("severity", "severity")), ("0",)),
        (("0", "1"), Arm("rule", Expert, reads="old"), None),
        (("a", "b"), Arm("other label", Expert, reads="severity"), None),
        (("0", "1"), Arm("alone", Expert), None),
    ],
)
def test_an_arm_without_training_knows_the_classes_of_its_inputs(plan, classes, arm, trained):
    task = SimpleNamespace(classes=classes)
    assert trained_classes.inherit(task, arm, Cell(arm.name, 0), plan) == trained


def test_a_merged_class_is_trained_where_one_of_its_parts_is(plan):
    task, arm = MergedClasses("dense", "sparse"), Arm("merged", MergedClasses, reads="dense")
    held = trained_classes.inherit(task, arm, Cell("merged", 0), plan)
    number = MASK_SCHEMES["dense"].index("background")
    assert held == (task.classes[task.mapping[number]],)


CLIP = SimpleNamespace(scheme=None, multilabel=False, by_frame=False, classes=("a", "b", "c"))


@pytest.mark.parametrize(
    ("kind", "row", "kept"),
    [
        ({}, {"target": 0}, {"target": 0}),
        ({}, {"target": 2}, None),
        ({"multilabel": True}, {"target": [1, -1, 0]}, {"target": [1, -1, -1]}),
        ({"by_frame": True}, {"target": [2, 0, 1, 2], "outputs": np.arange(4)},
         {"target": [0, 1], "outputs": [1, 2]}),
        ({"scheme": "dense"}, {"target": "dense", "counts": np.ones((2, 9))},
         {"target": "dense", "counts": 2 * [[[1, 1, 1], [1, 1, 1], [0, 0, 0]]]}),
        ({"scheme": "dense"}, {"target": None}, None),
    ],
)  # fmt: skip
def test_validation_leaves_out_targets_of_untrained_classes(kind, row, kept):
    task = SimpleNamespace(**{**vars(CLIP), **kind})
    for trained in (None, task.classes):
        assert trained_classes.keep_trained(task, [row], trained) == [row]
    found = trained_classes.keep_trained(task, [row], ("a", "b"))
    assert [list(own) for own in found] == ([] if kept is None else [list(kept)])
    for name, value in (kept or {}).items():
        np.testing.assert_array_equal(found[0][name], value)
