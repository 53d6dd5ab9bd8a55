"""One file per published table; each defines `EXPERIMENT`.

Here is what several of them share: baselines, and the ranges of searched hyperparameters.
"""

from functools import partial
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from lus_ray.data.transforms.view import View
from lus_ray.experiment import Arm, Recipe, Rows, Search
from lus_ray.nets import PositionPrior
from lus_ray.tasks import BiomarkerClassifiers, Expert, IntensityFeatures
from lus_ray.tasks.sklearn_expert import PLAIN

rates = FloatDistribution(1e-5, 1e-1, log=True)
penalties = FloatDistribution(0.0, 0.1)  # decoupled weight decay, which has no scale of its own
l2_penalties = FloatDistribution(0.0, 1e-3)
degrees = FloatDistribution(0.0, 45.0)
shares = FloatDistribution(0.0, 0.7)  # of dropout
factors = FloatDistribution(0.1, 10.0, log=True)  # on a weight that is published as 1

svm = {
    "task.parameters.C": FloatDistribution(1e-2, 1e2, log=True),
    "task.parameters.gamma": FloatDistribution(1e-4, 1e1, log=True),
}
EXPERTS = {
    "DT": Search({
        "task.parameters.max_depth": IntDistribution(1, 20),
        "task.parameters.min_samples_leaf": IntDistribution(1, 20),
    }),
    "SVM": Search(svm),
    "SVM-pairwise": Search(svm),
    "RF": Search({
        "task.parameters.max_depth": IntDistribution(2, 20),
        "task.parameters.min_samples_leaf": IntDistribution(1, 10),
    }),
    "AB": Search({
        "task.parameters.n_estimators": IntDistribution(10, 200, log=True),
        "task.parameters.learning_rate": FloatDistribution(0.05, 2.0, log=True),
    }),
    "NN": Search({
        "task.parameters.n_neighbors": IntDistribution(1, 25),
        "task.parameters.weights": CategoricalDistribution(("uniform", "distance")),
    }),
    "MLP": Search({
        "task.parameters.hidden_layer_sizes": IntDistribution(16, 256, log=True),
        "task.parameters.alpha": FloatDistribution(1e-5, 1e-1, log=True),
    }),
    "MLP-L": Search({
        "task.parameters.learning_rate_init": FloatDistribution(1e-4, 1e-2, log=True),
        "task.parameters.alpha": FloatDistribution(1e-5, 1e-1, log=True),
    }),
}  # fmt: skip
"""What is searched of each kind of scikit-learn expert."""


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
