"""An experiment of any number of cells that cost nothing but scheduling."""

import math
from functools import partial
from itertools import count, islice

from experiments.biomarkers import EXPERIMENT
from lus_ray.data.transforms.view import View
from lus_ray.experiment import Arm, Experiment
from lus_ray.tasks import Expert, IntensityFeatures

VIEW = View(num_frames=1, height=24, width=32)


def experiment(num_cells: int) -> Experiment:
    """Intensity features on three folds, and experts that predict the most frequent class."""
    prior = partial(Expert, kind="prior", label="severity", inputs="features")
    features = Arm("intensity", partial(IntensityFeatures, view=VIEW))
    priors = (Arm(f"prior {n}", prior, label="severity", reads="intensity") for n in count())
    arms = (features, *islice(priors, math.ceil(num_cells / 3) - 1))
    return Experiment("cheap", "Cheap", EXPERIMENT.at("smoke").folds, arms, ("auc",))
