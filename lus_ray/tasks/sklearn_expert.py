"""Experts: small scikit-learn classifiers on the predictions of an earlier arm.

Shapes: N examples, S samples of a clip, D features, K classes.
Source: Gare 2022, section 3.4: seven classifiers with default parameters, the best of three fits;
each sample of a training clip is one example, and a clip's probability is the mean over samples.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Int

from lus_ray.data.labels import classes_of, oversample
from lus_ray.errors import ArmError, CellError
from lus_ray.tasks.frame_score import frame_scores
from lus_ray.tasks.pairwise_svm import PairwiseSVC
from lus_ray.tasks.task import PredictionRow, Task, class_scores, mean_of_samples

EXPERTS = ("DT", "SVM", "SVM-pairwise", "RF", "AB", "NN", "MLP", "MLP-L")
PLAIN = ("prior", "logistic")
"""The baselines of every arm."""
EXPERT_NAMES = {
    "DT": "decision tree",
    "SVM": "support vector machine",
    "SVM-pairwise": "support vector machine with pairwise probabilities",
    "RF": "random forest",
    "AB": "AdaBoost",
    "NN": "nearest neighbours",
    "MLP": "multilayer perceptron",
    "MLP-L": "multilayer perceptron with three layers",
    "prior": "class frequencies",
    "logistic": "logistic regression",
}
"""Every kind of classifier by its full name."""
NUM_FOLDS = 5
"""Inner folds of the Platt scaling of an SVM, at most."""
NUM_NEIGHBOURS = 5
DEFAULTS: Mapping[str, Any] = MappingProxyType({})
"""No parameter is changed from what scikit-learn chooses."""
DETERMINISTIC = ("SVM", "NN", "prior", "logistic")
"""Classifiers that no seed changes; one fit is enough."""
BATCHED = ("DT", "SVM", "SVM-pairwise", "RF", "AB", "NN", "prior")
"""Classifiers that predict the same bits for an example alone and in a batch; a matrix product of
many rows rounds differently."""


class Expert(Task):
    """A scikit-learn classifier of one label, fitted in one call.

    Args:
        kind: one of `EXPERTS` or `PLAIN`.
        label: built in, or of one's own with these `classes`; or "frame_severity", where each
            sample is a frame with its own score.
        inputs: "outputs" (probabilities) or "features" of the earlier arm.
        fits: number of fits with different seeds; the best validation accuracy wins.
        balance: repeat training examples up to the size of the largest class.
        of_frames: each sample for a "diagnosis" is a frame with the class of its clip.
        parameters: of the scikit-learn classifier, by its own names; of an SVM `C` and `gamma`.
    """

    reads_rows: ClassVar[bool] = True
    fits_in_one_call: ClassVar[bool] = True

    def __init__(
        self,
        kind: str,
        label: str,
        inputs: str = "outputs",
        fits: int = 3,
        balance: bool = True,
        classes: Sequence[str] = (),
        of_frames: bool = True,
        parameters: Mapping[str, Any] = DEFAULTS,
    ) -> None:
        super().__init__()
        if kind not in EXPERTS + PLAIN:
            raise ArmError(f"no expert {kind!r}; use one of {', '.join(EXPERTS + PLAIN)}")
        if inputs not in ("outputs", "features"):
            raise ArmError(f"an expert reads outputs or features, not {inputs!r}")
        self.by_frame = label == "frame_severity"
        self.inherited = of_frames and label == "diagnosis"
        self.kind, self.label, self.inputs, self.balance = kind, label, inputs, balance
        self.fits = 1 if kind in DETERMINISTIC else fits
        self.classifier_parameters = dict(parameters)
        self.columns = (label,)
        self.classes = classes_of("severity" if self.by_frame else label, classes)

    def fit_rows(
        self, train: Sequence[PredictionRow], val: Sequence[PredictionRow], *, seed: int
    ) -> dict[str, float]:
        """Fit to annotated rows of an earlier arm's predictions; the validation scores.

        Raises:
            CellError: no training row is annotated.
        """
        examples, target = self._examples(train)
        if not len(target):
            raise CellError(f"no training clip has a {self.label}; choose other folds or more data")
        val = [row for row in val if self.by_frame or self.target(row) in target]
        if self.balance and self.kind not in PLAIN:
            chosen = oversample(target, np.random.default_rng(seed))
            examples, target = examples[chosen], target[chosen]
        many = len(np.unique(target)) > 1
        kind, parameters = (self.kind, self.classifier_parameters) if many else ("prior", DEFAULTS)
        candidates = []
        for repeat in range(self.fits):
            self.estimator = fit_classifier(
                kind, examples, target, seed=seed + repeat, parameters=parameters
            )
            predictions = zip(val, self.predict_rows(val), strict=True)
            scores = self.score([{"target": self.target(row), **p} for row, p in predictions])
            rank = scores["score"] if np.isfinite(scores["score"]) else -1.0
            candidates.append((rank, scores, self.estimator))
        _, scores, self.estimator = max(candidates, key=lambda candidate: candidate[0])
        return scores

    def predict(self, row: PredictionRow) -> dict[str, np.ndarray]:  # type: ignore[override]
        """`outputs` (S, K) and their mean `probability` (K,) for one row of the earlier arm."""
        outputs = self._probabilities(self._inputs(row))
        return {"outputs": outputs, "probability": mean_of_samples(outputs)}

    def predict_rows(self, rows: Sequence[PredictionRow]) -> list[dict[str, np.ndarray]]:
        """`predict` of each row, bit for bit, in one call where the classifier allows it."""
        if self.kind not in BATCHED or not rows:
            return super().predict_rows(rows)
        inputs = [self._inputs(row) for row in rows]
        ends = np.cumsum([len(samples) for samples in inputs])[:-1]
        parts = np.split(self._probabilities(np.concatenate(inputs)), ends)
        return [{"outputs": part, "probability": mean_of_samples(part)} for part in parts]

    def target(self, row: PredictionRow) -> int | list[int] | None:
        return row["frame_severity"] if self.by_frame else super().target(row)

    def score(self, rows: Sequence[PredictionRow]) -> dict[str, float]:
        return frame_scores(rows) if self.by_frame else class_scores(rows)

    def _probabilities(self, examples: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N K"]:
        """Probabilities; 0 for a class without training examples."""
        known = self.estimator.predict_proba(examples)
        outputs = np.zeros((len(known), len(self.classes)), np.float32)
        outputs[:, np.asarray(self.estimator.classes_, int)] = known
        return outputs

    def _inputs(self, row: PredictionRow) -> Float[np.ndarray, "S D"]:
        return np.asarray(row[self.inputs], np.float32)

    def _examples(
        self, rows: Sequence[PredictionRow]
    ) -> tuple[Float[np.ndarray, "N D"], Int[np.ndarray, "N"]]:
        rows = [row for row in rows if self.target(row) is not None]
        if not rows:
            return np.zeros((0, 1), np.float32), np.zeros(0, int)
        inputs = [self._inputs(row) for row in rows]
        pairs = zip(rows, inputs, strict=True)
        targets = [np.broadcast_to(np.array(self.target(row)), len(x)) for row, x in pairs]
        return np.concatenate(inputs), np.concatenate(targets)


def fit_classifier(
    kind: str, examples: Float[np.ndarray, "N D"], target: Int[np.ndarray, "N"], *, seed: int,
    parameters: Mapping[str, Any] = DEFAULTS,
) -> Any:  # fmt: skip
    """A scikit-learn classifier of this kind, fitted to the class of each example.

    Other `parameters` are the defaults, as in Gare 2022. An AUC needs probabilities, which SVMs
    lack: the "SVM-pairwise" has those of LIBSVM, as SVC in the paper's time; "SVM" has what
    scikit-learn now recommends, Platt scaling of each class against the rest over five folds, or
    over as many as the smallest class has examples where these are fewer, at least two.
    NN has five neighbours, or all examples. AB is SAMME: scikit-learn has removed the SAMME.R of
    2022.
    """
    # Imported here: scikit-learn takes a second, which other tasks do not need.
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

    smallest_class = int(np.unique(target, return_counts=True)[1].min())
    inner_folds = min(NUM_FOLDS, smallest_class)
    seeded = {"random_state": seed, **parameters}
    neighbours = min(parameters.get("n_neighbors", NUM_NEIGHBOURS), len(target))
    classifiers: dict[str, Callable[[], Any]] = {
        "DT": lambda: DecisionTreeClassifier(**seeded),
        "SVM": lambda: CalibratedClassifierCV(SVC(**parameters), ensemble=False, cv=inner_folds),
        "SVM-pairwise": lambda: PairwiseSVC(seed, **parameters),
        "RF": lambda: RandomForestClassifier(**seeded),
        "AB": lambda: AdaBoostClassifier(**seeded),
        "NN": lambda: KNeighborsClassifier(**{**parameters, "n_neighbors": neighbours}),
        "MLP": lambda: MLPClassifier(**seeded),
        "MLP-L": lambda: MLPClassifier((128, 64, 32), learning_rate="adaptive", **seeded),
        "prior": lambda: DummyClassifier(strategy="prior"),
        "logistic": lambda: make_pipeline(
            StandardScaler(), LogisticRegression(max_iter=2000, **seeded)
        ),
    }
    with warnings.catch_warnings():
        # 200 iterations are the published default; that they do not converge is known.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return classifiers[kind]().fit(examples, target)
