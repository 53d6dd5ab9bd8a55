"""Severity from clips: a network beside this file, and a task in it."""

from functools import partial

from small_network import SmallCNN

from lus_ray.data.transforms.view import View
from lus_ray.experiment import Arm, Experiment, Recipe, Size
from lus_ray.folds import k_fold
from lus_ray.tasks import ClipLabel

VIEW = View(num_frames=4, height=32, width=32, num_samples=1)
VIDEO = Recipe(epochs=1, batch=4, lr=1e-3)


class OwnLabel(ClipLabel):
    """A task that differs in its name alone."""


EXPERIMENT = Experiment(
    name="the name is that of the file",
    title="Severity from clips",
    folds=k_fold(3),
    metrics=("auc", "accuracy"),
    arms=(
        Arm("own network", partial(ClipLabel, backbone=SmallCNN, view=VIEW, label="severity"),
            VIDEO, "severity"),
        Arm("own task", partial(OwnLabel, backbone=SmallCNN, view=VIEW, label="severity"),
            VIDEO, "severity"),
    ),
    sizes={"smoke": Size()},
)  # fmt: skip
