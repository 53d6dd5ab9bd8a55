"""Experts of a study, fitted in parallel as cells, against a loop of scikit-learn.

Seven kinds, three labels and three folds are 63 fits (three times that where a seed changes the
fit) on 42 features of four samples of each of 128 phantom clips of 32 patients. Features and
cluster are ready before the clock starts.
Baselines: a script on one BLAS thread that reads each feature table once, predicts all clips at
once and stores nothing; and the same cells in a loop of one process.
What is equal: every value of every table of the cells; classes of the script, and its
probabilities up to 1e-5, as it multiplies matrices of all clips at once.
"""

from functools import partial
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from lus_ray.bench.cell_runs import Runs, check_equal, phantom_store
from lus_ray.bench.measure import Comparison, compare_in_turn
from lus_ray.clip import Row
from lus_ray.data.labels import CLASSES, class_index, oversample
from lus_ray.data.transforms.view import View
from lus_ray.errors import LusError
from lus_ray.experiment import Arm, Experiment
from lus_ray.folds import fixed_test
from lus_ray.orchestration.cluster.connection import CELL_MODULE, connect
from lus_ray.runs import predictions
from lus_ray.runs.cell import Cell, cell_seed
from lus_ray.runs.layout import RunFolder
from lus_ray.tasks import Expert, IntensityFeatures
from lus_ray.tasks.clip_classification import class_scores
from lus_ray.tasks.sklearn_expert import DETERMINISTIC, EXPERTS, fit_classifier

NUM_PATIENTS, NUM_CLIPS, NUM_REPEATS, NUM_FITS = 32, 4, 2, 3
LABELS = ("severity", "sf_ratio", "disease")
TOLERANCE = 1e-5
TARGET = 1.7
VIEW = View(num_frames=8, height=64, width=64, num_samples=4)

Probabilities = dict[tuple[str, int], np.ndarray]
"""(arm, fold) -> probabilities (clips, classes), in the order of the feature table."""


def measure(
    repeats: int = NUM_REPEATS,
    *,
    num_patients: int = NUM_PATIENTS,
    kinds: tuple[str, ...] = EXPERTS,
    labels: tuple[str, ...] = LABELS,
) -> dict[str, Comparison]:
    """All experts of a study on two cores; few repeats, as one takes many seconds.

    Raises:
        LusError: a baseline answers otherwise than ours.
    """
    clips = {"patients": num_patients, "clips": NUM_CLIPS, "frames": 8, "size": 64}
    with phantom_store(**clips, masks="none") as (root, data), connect(None, imports=CELL_MODULE):
        runs = Runs(experiment(kinds, labels), data, root)
        runs.given = runs.run_in_loop("features", 1, arm="intensity")
        check_equal(runs.campaign(), cells := runs.run_in_loop("loop of cells", 1), "cells")
        check_answers(cells, script(cells, runs.experiment))
        return {
            f"{len(kinds) * len(labels)} experts, 3 folds": compare_in_turn(
                runs.campaign,
                {
                    "a loop of scikit-learn": lambda: script(cells, runs.experiment),
                    "the same cells in a loop": lambda: runs.run_in_loop("loop", 1),
                },
                repeats=repeats,
                warmup=0,
                target=TARGET,
                children=True,
            )
        }


def experiment(kinds: tuple[str, ...], labels: tuple[str, ...]) -> Experiment:
    """Intensity features, and the experts that read them."""
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


def script(out: Path, experiment: Experiment) -> Probabilities:
    """What one would write with scikit-learn alone: the answers of every expert on every fold."""
    answers: Probabilities = {}
    with threadpool_limits(1):
        for cell in RunFolder(out).finished_cells("intensity"):
            about, table = predictions.read(cell.predictions)
            rows = table.to_pylist()
            samples = [np.asarray(row["features"], np.float32) for row in rows]
            for arm in experiment.arms[1:]:
                seed = cell_seed(experiment.seed, Cell(arm.name, about.fold))
                kind = arm.name.partition(",")[0]
                assert arm.label is not None
                answers[arm.name, about.fold] = _fit(kind, arm.label, rows, samples, seed)
    return answers


def _fit(
    kind: str, label: str, rows: list[Row], samples: list[np.ndarray], seed: int
) -> np.ndarray:
    """The best of a few fits by its accuracy on validation clips; its probabilities (N, K)."""
    target = [class_index(label, row) for row in rows]
    known = [n for n, row in enumerate(rows) if target[n] is not None]
    train = [n for n in known if rows[n]["split"] == "train"]
    val = [n for n in known if rows[n]["split"] == "val"]
    examples = np.concatenate([samples[n] for n in train])
    classes = np.concatenate([np.full(len(samples[n]), target[n]) for n in train])
    chosen = oversample(classes, np.random.default_rng(seed))
    best: tuple[float, np.ndarray] | None = None
    for repeat in range(1 if kind in DETERMINISTIC else NUM_FITS):
        model = fit_classifier(kind, examples[chosen], classes[chosen], seed=seed + repeat)
        prediction = _ask(model, samples, len(CLASSES[label]))
        score = class_scores([{"target": target[n], "probability": prediction[n]} for n in val])[
            "score"
        ]
        if best is None or score > best[0]:
            best = (score, prediction)
    assert best is not None
    return best[1]


def _ask(model: BaseEstimator, samples: list[np.ndarray], num_classes: int) -> np.ndarray:
    known = model.predict_proba(np.concatenate(samples))
    outputs = np.zeros((len(known), num_classes), np.float32)
    outputs[:, model.classes_] = known
    ends = np.cumsum([len(one) for one in samples])[:-1]
    return np.array([part.mean(axis=0) for part in np.split(outputs, ends)])


def check_answers(out: Path, answers: Probabilities) -> None:
    """Refuse a script whose probabilities differ from those of the cells by more than 1e-5.

    Raises:
        LusError: names the expert, the fold and the difference.
    """
    for (arm, fold), prediction in answers.items():
        path = RunFolder(out).cell(Cell(arm, fold)).predictions
        table = predictions.read(path, ["probability"])[1]
        off = np.abs(np.array(table["probability"].to_pylist()) - prediction).max()
        if not off <= TOLERANCE:
            raise LusError(
                f"experts: the probabilities of {arm!r} on fold {fold} differ from the script's by "
                f"{off:.1e}; no ratio is given for unequal work"
            )
