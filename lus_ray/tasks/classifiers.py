"""The classifiers behind the experts, as scikit-learn has them.

Letters: N examples, D features.
The seven of Gare 2022 with their defaults. SVM has Platt scaling over five folds, which an AUC
needs. AB is SAMME (SAMME.R of 2022 is gone from scikit-learn); "adaptive" has no effect with the
default solver, as in the paper.
"""

import warnings
from collections.abc import Callable

from jaxtyping import Float, Int
from numpy import ndarray
from sklearn.base import BaseEstimator
from sklearn.calibration import CalibratedClassifierCV
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import AdaBoostClassifier, RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

BUILD: dict[str, Callable[[int], BaseEstimator]] = {
    "DT": lambda seed: DecisionTreeClassifier(random_state=seed),
    "SVM": lambda seed: CalibratedClassifierCV(SVC(), ensemble=False, cv=5),
    "RF": lambda seed: RandomForestClassifier(random_state=seed),
    "AB": lambda seed: AdaBoostClassifier(random_state=seed),
    "NN": lambda seed: KNeighborsClassifier(),
    "MLP": lambda seed: MLPClassifier(random_state=seed),
    "MLP-L": lambda seed: MLPClassifier(
        hidden_layer_sizes=(128, 64, 32), learning_rate="adaptive", random_state=seed
    ),
    "prior": lambda seed: DummyClassifier(strategy="prior"),
    "logistic": lambda seed: make_pipeline(
        StandardScaler(), LogisticRegression(max_iter=2000, random_state=seed)
    ),
}
"""By the names of `lus_ray.tasks.sklearn_expert`; a seed makes an unfitted one."""


def fit(
    kind: str, examples: Float[ndarray, "N D"], target: Int[ndarray, "N"], *, seed: int
) -> BaseEstimator:
    """A classifier of a kind that has learned the class of each example."""
    with warnings.catch_warnings():
        # 200 iterations are the published default; that they do not converge is known.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return BUILD[kind](seed).fit(examples, target)
