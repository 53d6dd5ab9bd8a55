"""An expert asked once for all clips says what it says of each clip alone."""

import numpy as np
import pytest

from lus_ray.tasks import Expert
from lus_ray.tasks.sklearn_expert import EXPERTS, PLAIN


def rows(num_clips=30, num_samples=3, num_features=24):
    """Clips of four severities in turn, each with samples of noise around its own score."""
    rng = np.random.default_rng(0)
    made = []
    for number in range(num_clips):
        noise = rng.normal(size=(num_samples, num_features))
        made.append({"severity": number % 4, "features": (number % 4 + noise).tolist()})
    return made


def fitted(kind):
    expert = Expert(kind, "severity", inputs="features", fits=1)
    expert.fit_rows(rows(), [], seed=0)
    return expert


@pytest.mark.parametrize("kind", EXPERTS + PLAIN)
def test_all_clips_at_once_and_each_alone_are_equal_bit_for_bit(kind):
    expert, clips = fitted(kind), rows(11)
    together, alone = expert.predict_rows(clips), [expert.predict(clip) for clip in clips]
    assert len(together) == len(alone) == 11
    for one, other in zip(together, alone, strict=True):
        assert np.array_equal(one["outputs"], other["outputs"])
        assert np.array_equal(one["probability"], other["probability"])


def test_clips_keep_their_own_numbers_of_samples():
    clips = [*rows(1, num_samples=1), *rows(1, num_samples=4)]
    said = fitted("NN").predict_rows(clips)
    assert [len(answer["outputs"]) for answer in said] == [1, 4]


def test_of_no_clips_nothing_is_said():
    assert fitted("DT").predict_rows([]) == []
