"""Prediction sets of phantom patients, simulated one by one, for a model that saw none of them."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lus_ray.data.ingest import phantom
from lus_ray.metrics.conformal import LEVELS
from lus_ray.tasks.intensity_features import statistics
from tests.metrics.test_conformal import coverages

NUM_TRAINING, NUM_PATIENTS, NUM_SPLITS = 200, 1000, 200


@pytest.fixture(scope="module")
def predicted():
    """Patients of one to three clips, their severity and its probabilities."""
    simulated = phantom.clips(
        patients=NUM_TRAINING + NUM_PATIENTS, clips=3, frames=2, size=64, masks="none"
    )
    chosen = [make for k, make in enumerate(simulated.makers.values()) if k % 3 <= (k // 3) % 3]
    clips = [make() for make in chosen]
    patient = [clip["patient"] for clip in clips]
    severity = np.array([clip["severity"] for clip in clips])
    features = np.stack(
        [statistics(np.asarray(clip["frames"], np.float32) / 255) for clip in clips]
    )
    first = np.isin(patient, list(dict.fromkeys(patient))[:NUM_TRAINING])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.05, max_iter=1000))
    model.fit(features[first], severity[first])
    held_out = [name for name, is_first in zip(patient, first, strict=True) if not is_first]
    return held_out, severity[~first], model.predict_proba(features[~first])


@pytest.mark.full
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("level", LEVELS)
def test_coverage_is_within_a_point_over_200_splits_of_1000_phantom_patients(predicted, level):
    assert len(set(predicted[0])) == NUM_PATIENTS
    rng = np.random.default_rng(0)
    drawn = list(coverages(*predicted, level=level, num_splits=NUM_SPLITS, rng=rng))
    assert len(drawn) == NUM_SPLITS
    assert np.mean(drawn) == pytest.approx(level, abs=0.01)
