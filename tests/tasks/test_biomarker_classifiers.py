from functools import partial

import numpy as np
import pytest

from lus_ray.clip import BIOMARKERS
from lus_ray.errors import ArmError, CellError
from lus_ray.tasks import BiomarkerClassifiers
from lus_ray.training import checkpoint

RNG = np.random.default_rng(0)
PRESENT, ABSENT, ONLY_PRESENT, UNKNOWN = range(4)


def make_rows(count=60):
    """Rows whose first feature shows the first biomarker; the third is always there."""
    rows = []
    for number in range(count):
        values = np.zeros(len(BIOMARKERS), int)
        values[PRESENT] = number % 2
        values[ONLY_PRESENT], values[UNKNOWN] = 1, -1
        features = RNG.normal(size=(2, 5)).astype(np.float32)
        features[:, 0] += 4 * values[PRESENT]
        rows.append({"features": features, "biomarkers": values.tolist()})
    return rows


@pytest.fixture(scope="module")
def fitted():
    task = BiomarkerClassifiers("logistic")
    task.fit_rows(make_rows(), make_rows(20), seed=0)
    return task


def test_each_biomarker_is_learned_from_its_annotated_clips_alone(fitted):
    rows = make_rows(20)
    probability = np.stack([fitted.predict(row)["probability"] for row in rows])
    truth = np.array([row["biomarkers"][PRESENT] for row in rows])
    assert ((probability[:, PRESENT] > 0.5) == truth).mean() > 0.9
    assert probability[:, [ABSENT, ONLY_PRESENT, UNKNOWN]] == pytest.approx(
        np.tile([0.0, 1.0, 0.5], (20, 1))
    )
    together = fitted.predict_rows(rows)
    assert np.stack([own["probability"] for own in together]) == pytest.approx(probability)


def test_a_checkpoint_keeps_the_classifiers(fitted, tmp_path):
    description = checkpoint.describe(partial(BiomarkerClassifiers, kind="logistic"))
    checkpoint.save(tmp_path / "c", fitted, description, seed=0)
    row = make_rows(1)[0]
    loaded = checkpoint.load(tmp_path / "c")
    assert np.array_equal(loaded.predict(row)["probability"], fitted.predict(row)["probability"])


def test_unusable_settings_and_rows_are_refused():
    with pytest.raises(ArmError, match="'SVM' on 'features': use prior or logistic"):
        BiomarkerClassifiers("SVM")
    rows = [row | {"biomarkers": None} for row in make_rows(3)]
    with pytest.raises(CellError, match="no training clip has biomarkers"):
        BiomarkerClassifiers("prior").fit_rows(rows, [], seed=0)
