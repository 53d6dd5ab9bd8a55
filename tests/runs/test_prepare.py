"""Preparing a run: what is refused before anything starts."""

from functools import partial

import pytest

from lus_ray.errors import ArmError
from lus_ray.experiment import Arm, Experiment
from lus_ray.folds import Fold, rotating
from lus_ray.runs.prepare import list_cells
from lus_ray.tasks import IntensityFeatures


def test_two_arms_that_share_a_folder_are_refused():
    arms = tuple(Arm(name, partial(IntensityFeatures)) for name in ("a b", "a-b"))
    with pytest.raises(ArmError, match="share a folder"):
        list_cells(Experiment("t", "T", rotating(3), arms, ()), [Fold(0, ("p",))])
