"""One plain classifier per biomarker on the predictions of an earlier arm: a baseline.

Shapes: S samples of a clip, D features, K biomarkers.
"""

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import numpy as np

from lus_ray.clip import BIOMARKERS
from lus_ray.errors import ArmError, CellError
from lus_ray.metrics import multilabel
from lus_ray.tasks.sklearn_expert import PLAIN, fit_classifier
from lus_ray.tasks.task import PredictionRow, Task, class_scores, mean_of_samples


class BiomarkerClassifiers(Task):
    """A classifier of `kind`, one of `PLAIN`, for each biomarker with both values in training.

    The others have the probability of their only value, or 0.5 where no training clip is annotated.
    """

    reads_rows: ClassVar[bool] = True
    fits_in_one_call: ClassVar[bool] = True
    multilabel: ClassVar[bool] = True
    fits = 1

    def __init__(self, kind: str, inputs: str = "features") -> None:
        super().__init__()
        if kind not in PLAIN or inputs not in ("outputs", "features"):
            raise ArmError(
                f"{kind!r} on {inputs!r}: use {' or '.join(PLAIN)} on outputs or features"
            )
        self.kind, self.inputs = kind, inputs
        self.label, self.columns, self.classes = "biomarkers", ("biomarkers",), BIOMARKERS

    def fit_rows(
        self, train: Sequence[PredictionRow], val: Sequence[PredictionRow], *, seed: int
    ) -> dict[str, float]:
        """Fit to annotated rows of an earlier arm's predictions; the validation scores.

        Raises:
            CellError: no training row is annotated.
        """
        train = [row for row in train if self.target(row) is not None]
        if not train:
            raise CellError("no training clip has biomarkers; choose other folds or more data")
        samples = [np.asarray(row[self.inputs], np.float32) for row in train]
        clips = np.repeat(np.arange(len(train)), [len(own) for own in samples])
        examples = np.concatenate(samples)
        targets = np.array([self.target(row) for row in train])[clips]
        self.estimator = {}
        for name, target in zip(self.classes, targets.T, strict=True):
            annotated = target >= 0
            kind = self.kind if len(np.unique(target[annotated])) > 1 else "prior"
            if annotated.any():
                self.estimator[name] = fit_classifier(
                    kind, examples[annotated], target[annotated], seed=seed
                )
        predictions = zip(val, self.predict_rows(val), strict=True)
        return self.score([{"target": self.target(row), **p} for row, p in predictions])

    def predict(self, row: PredictionRow) -> dict[str, np.ndarray]:  # type: ignore[override]
        """`outputs` (S, K) and their mean `probability` (K,) for one row of the earlier arm."""
        return self.predict_rows([row])[0]

    def predict_rows(self, rows: Sequence[PredictionRow]) -> list[dict[str, np.ndarray]]:
        """`predict` of each row; one call per classifier, which may round differently."""
        if not rows:
            return []
        samples = [np.asarray(row[self.inputs], np.float32) for row in rows]
        examples = np.concatenate(samples)
        outputs = np.full((len(examples), len(self.classes)), 0.5, np.float32)
        for k, name in enumerate(self.classes):
            if (classifier := self.estimator.get(name)) is not None:
                known = list(classifier.classes_)
                probability = classifier.predict_proba(examples)
                outputs[:, k] = probability[:, known.index(1)] if 1 in known else 0
        parts = np.split(outputs, np.cumsum([len(own) for own in samples])[:-1])
        return [{"outputs": part, "probability": mean_of_samples(part)} for part in parts]

    def target(self, row: PredictionRow) -> list[int] | None:
        return row["biomarkers"]

    def score(self, rows: Sequence[PredictionRow]) -> dict[str, float]:
        return class_scores(rows, self.monitor, partial(multilabel.score, classes=BIOMARKERS))
