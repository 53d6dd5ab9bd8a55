"""Experts of a study, fitted in parallel as cells, against a loop of scikit-learn.

Seven kinds, three labels and three folds are 63 fits (three times that where a seed changes the
fit) on 42 features of four samples of each of 128 phantom clips of 32 patients. Features are ready
before the clock starts.
The rival is a script on one BLAS thread that reads each feature table once, predicts all clips at
once and stores nothing. It is equal to 1e-5, as it multiplies matrices of all clips at once.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from lus_ray.bench.cell_runs import Runs, phantom_store
from lus_ray.bench.measure import Comparison, Result, refuse
from lus_ray.clip import Row, to_rows
from lus_ray.data.labels import CLASSES, class_index, oversample
from lus_ray.data.transforms.view import View
from lus_ray.experiment import Arm, Experiment
from lus_ray.folds import fixed_test
from lus_ray.runs import predictions
from lus_ray.runs.cell import Cell, cell_seed
from lus_ray.runs.layout import RunFolder
from lus_ray.tasks import Expert, IntensityFeatures
from lus_ray.tasks.sklearn_expert import DETERMINISTIC, EXPERTS, fit_classifier
from lus_ray.tasks.task import class_scores

KINDS = tuple(kind for kind in EXPERTS if kind != "SVM-pairwise")
NUM_FITS = 3
NUM_REPEATS = 2
LABELS = ("severity", "sf_ratio", "disease")
TOLERANCE = 1e-5
TARGET = 1.7
VIEW = View(num_frames=8, height=64, width=64, num_samples=4)

Probabilities = dict[tuple[str, int], np.ndarray]
"""(arm, fold) -> probabilities (clips, classes), in the order of the feature table."""


def compare(
    *, num_patients: int = 32, kinds: tuple[str, ...] = KINDS, labels: tuple[str, ...] = LABELS
) -> Iterator[tuple[str, Result]]:
    """All experts of a study on two cores; few repeats, as one takes many seconds."""
    clips = {"patients": num_patients, "clips": 4, "frames": 8, "size": 64}
    with phantom_store(**clips, masks="none") as (root, data):
        runs = Runs(experiment(kinds, labels), data, root)
        runs.given = runs.run_alone("features", arm="intensity")
        script = partial(fit_in_script, runs.given, runs.experiment)
        runs.campaign(folds=(0,))  # neither side starts cold
        script(folds=(0,))
        results: list[Probabilities] = []
        rivals = {"a loop of scikit-learn": lambda: results.append(script())}
        measured = Comparison(
            runs.campaign, rivals, target=TARGET, children=True, warmup=0
        ).measure(NUM_REPEATS)
        check_predictions(runs.last["campaign"], results[-1])
        yield f"{len(kinds) * len(labels)} experts, 3 folds", measured


def experiment(kinds: tuple[str, ...], labels: tuple[str, ...]) -> Experiment:
    arms = tuple(
        Arm(
            f"{kind}, {label}",
            partial(Expert, kind=kind, label=label, inputs="features", fits=NUM_FITS),
            label=label,
            reads="intensity",
        )
        for label in labels
        for kind in kinds
    )
    return Experiment(
        name="experts",
        title="Experts on features",
        folds=fixed_test(parts=4, cv=3),
        arms=(Arm("intensity", partial(IntensityFeatures, view=VIEW)), *arms),
        metrics=("auc",),
    )


def fit_in_script(
    out: Path, experiment: Experiment, *, folds: tuple[int, ...] = (0, 1, 2)
) -> Probabilities:
    """Predictions of every expert on these folds, as one would write it with scikit-learn alone."""
    results: Probabilities = {}
    with threadpool_limits(1):
        for fold in folds:
            cell = RunFolder(out).cell(Cell("intensity", fold))
            table = predictions.read(cell.predictions)[1]
            rows = to_rows(table)
            samples = [np.asarray(row["features"], np.float32) for row in rows]
            for arm in experiment.arms[1:]:
                seed = cell_seed(experiment.seed, Cell(arm.name, fold))
                kind = arm.name.partition(",")[0]
                assert arm.label is not None
                results[arm.name, fold] = _fit(kind, arm.label, rows, samples, seed)
    return results


def _fit(
    kind: str, label: str, rows: list[Row], samples: list[np.ndarray], seed: int
) -> np.ndarray:
    """Probabilities (N, K) of the best of a few fits by its accuracy on validation clips."""
    target = [class_index(label, row) for row in rows]
    known = [n for n, row in enumerate(rows) if target[n] is not None]
    train = [n for n in known if rows[n]["split"] == "train"]
    val = [n for n in known if rows[n]["split"] == "val"]
    examples = np.concatenate([samples[n] for n in train])
    classes = np.concatenate([np.full(len(samples[n]), target[n]) for n in train])
    chosen = oversample(classes, np.random.default_rng(seed))
    fits: list[tuple[float, np.ndarray]] = []
    for repeat in range(1 if kind in DETERMINISTIC else NUM_FITS):
        model = fit_classifier(kind, examples[chosen], classes[chosen], seed=seed + repeat)
        predicted = _predict(model, samples, len(CLASSES[label]))
        scores = class_scores([{"target": target[n], "probability": predicted[n]} for n in val])
        fits.append((scores["score"], predicted))
    return max(fits, key=lambda fit: fit[0])[1]


def _predict(model: BaseEstimator, samples: list[np.ndarray], num_classes: int) -> np.ndarray:
    known = model.predict_proba(np.concatenate(samples))
    outputs = np.zeros((len(known), num_classes), np.float32)
    outputs[:, model.classes_] = known
    ends = np.cumsum([len(sample) for sample in samples])[:-1]
    return np.array([part.mean(axis=0) for part in np.split(outputs, ends)])


def check_predictions(out: Path, results: Probabilities) -> None:
    """Raise LusError if a probability of the script differs from that of a cell by over 1e-5."""
    for (arm, fold), probabilities in results.items():
        path = RunFolder(out).cell(Cell(arm, fold)).predictions
        table = predictions.read(path, ["probability"])[1]
        off = np.abs(np.array(table["probability"].to_pylist()) - probabilities).max()
        if not off <= TOLERANCE:
            where = f"{arm!r} on fold {fold}"
            refuse(f"experts: the probabilities of {where} differ from the script's by {off:.1e}")
