"""One file per published table; each defines `EXPERIMENT`."""

from functools import partial
from typing import Any

from lus_ray.data.transforms.view import View
from lus_ray.experiment import Arm, Recipe, Rows
from lus_ray.nets import PositionPrior
from lus_ray.tasks import BiomarkerClassifiers, Expert, IntensityFeatures
from lus_ray.tasks.sklearn_expert import PLAIN


def intensity_baselines(
    view: View, *labels: str, name: str = "{kind} on intensity", **task: Any
) -> tuple[Arm, ...]:
    """Arm `intensity` and the plain classifiers of each label on its statistics.

    `name` is formatted with `kind` (of the classifier) and `label`; `task` are more arguments of
    each `Expert`.
    """
    classifiers = (
        Arm(
            name.format(kind=kind, label=label),
            partial(BiomarkerClassifiers, kind=kind)
            if label == "biomarkers"
            else partial(Expert, kind=kind, label=label, inputs="features", **task),
            label=label,
            reads="intensity",
            baseline=True,
        )
        for label in labels
        for kind in PLAIN
    )
    return (Arm("intensity", partial(IntensityFeatures, view=view)), *classifiers)


def position_baseline(task: partial, name: str = "place", *, with_val: bool = False) -> Arm:
    """The most frequent class at each position: the baseline of segmenters of a scheme."""
    return Arm(
        name,
        partial(task, net=PositionPrior),
        Recipe(epochs=20, batch=16, lr=0.1, select="last"),
        f"{task.keywords['scheme']} masks",
        Rows(with_val=with_val),
        baseline=True,
    )
