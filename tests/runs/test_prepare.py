"""Preparing a run: what is refused before anything starts."""

from functools import partial

import pytest

from lus_ray.errors import ArmError
from lus_ray.experiment import Arm, Experiment
from lus_ray.folds import Fold, rotating
from lus_ray.runs.prepare import list_cells, note_random_starts
from lus_ray.tasks import IntensityFeatures


def test_two_arms_that_share_a_folder_are_refused():
    arms = tuple(Arm(name, partial(IntensityFeatures)) for name in ("a b", "a-b"))
    with pytest.raises(ArmError, match="share a folder"):
        list_cells(Experiment("t", "T", rotating(3), arms, ()), [Fold(0, ("p",))])


@pytest.mark.parametrize(
    ("size", "weights", "noted"),
    [("full", None, True), ("laptop", None, False), ("full", "w.safetensors", False)],
)
def test_a_full_run_from_random_weights_says_what_the_paper_starts_from(size, weights, noted):
    task = partial(IntensityFeatures)
    arms = (Arm("net", task, pretrained="resnet18-imagenet", weights=weights), Arm("plain", task))
    notes = note_random_starts(Experiment("t", "T", rotating(3), arms, ()), size)
    expected = (
        "the published recipe starts from resnet18-imagenet, and this run from random weights "
        "(net); give --weights resnet18-imagenet"
    )
    assert notes == ([expected] if noted else [])
