"""Arms that the training clips of some fold cannot train, and why."""

from functools import partial

import pytest

from lus_ray.data.transforms.view import View
from lus_ray.experiment import Arm, Experiment, Recipe
from lus_ray.folds import Fold, rotating
from lus_ray.nets import TSM
from lus_ray.runs import trainable
from lus_ray.tasks import Biomarkers, ClipLabel, Expert, IntensityFeatures

FOLDS = (Fold(0, ("a", "b"), (), ("c", "d")), Fold(1, ("c", "d"), (), ("a", "b")))
ONE_SAMPLE, TWO_SAMPLES = View(num_samples=1), View(num_samples=2)


def rows(**values):
    """A clip of each patient, with this value of a column by patient."""
    ((column, by_patient),) = values.items()
    blank = dict.fromkeys(("severity", "labels", "biomarkers", "mask_scheme", "frame_severity"))
    return [
        {**blank, "clip": f"t/{p}", "patient": p, "group": p, column: value}
        for p, value in zip("abcd", by_patient, strict=True)
    ]


def study(*arms, view=TWO_SAMPLES):
    return Experiment(
        "t", "t", rotating(3), (Arm("x", partial(IntensityFeatures, view=view)), *arms), ()
    )


def expert(kind, label="severity", **more):
    return Arm(kind, partial(Expert, kind=kind, label=label, **more), label=label, reads="x")


def find(experiment, clips):
    return trainable.find_untrainable(experiment, clips, FOLDS)


@pytest.mark.parametrize(
    ("severities", "reason"),
    [
        ([0, 1, 0, 1], None),
        ([0, 1, None, None], "fold 1: no training clip has severity"),
        ([None, None, None, None], "no training clip has severity"),
        ([2, 2, 0, 1], "fold 0: every training clip has severity 2"),
        ([2, 2, 3, 3], "fold 0: every training clip has severity 2; "
         "fold 1: every training clip has severity 3"),
    ],
)  # fmt: skip
def test_a_label_needs_two_classes_in_every_training_split(severities, reason):
    network = partial(ClipLabel, backbone=TSM, label="severity")
    arms = (expert("prior"), Arm("network", network, Recipe(1, 1, 1e-3), "severity"))
    reasons = {name: reason for name in ("prior", "network") if reason}
    assert find(study(*arms), rows(severity=severities)) == reasons


def test_classes_of_ones_own_are_counted_like_those_that_are_built_in():
    clips = rows(labels=[{"side": "left"}, {"side": "right"}, {"side": "left"}, None])
    own = expert("prior", "side", classes=("left", "right"))
    assert find(study(own), clips) == {"prior": "fold 1: every training clip has side left"}


@pytest.mark.parametrize(("view", "is_left_out"), [(ONE_SAMPLE, True), (TWO_SAMPLES, False)])
def test_an_svm_needs_two_examples_of_each_class_for_its_inner_folds(view, is_left_out):
    found = find(study(expert("SVM"), expert("NN"), view=view), rows(severity=[0, 1, 0, 1]))
    assert set(found) == ({"SVM"} if is_left_out else set())


def test_cross_fitting_needs_more_labelled_patients_than_one_part_holds():
    backbone = partial(Biomarkers, backbone=TSM)
    inner = Arm("inner", backbone, Recipe(1, 1, 1e-3), "biomarkers", reads="x", crossfit=2)
    judged = [1] * 38
    assert find(study(inner), rows(biomarkers=[judged] * 4)) == {}
    reason = "fold 0: too few training patients have biomarkers for cross-fitting"
    assert find(study(inner), rows(biomarkers=[judged, None, judged, judged])) == {"inner": reason}


def test_arms_that_follow_a_rule_need_no_training():
    assert find(study(), rows(severity=[None] * 4)) == {}
    assert not trainable.is_trained(study().arms[0])
