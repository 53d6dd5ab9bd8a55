import numpy as np
import pytest

from lus_ray.metrics.decision_curve import THRESHOLDS, count_decisions

RNG = np.random.default_rng(0)
PATIENT = [f"p{k // 2:02d}" for k in range(60)]
POSITIVE = RNG.random(60) < 0.3
PROBABILITY = np.clip(0.3 * POSITIVE + 0.7 * RNG.random(60), 0, 1)
COUNTS = count_decisions(PATIENT, POSITIVE, PROBABILITY)
ALL = np.ones((1, 30))


def at(threshold):
    return int(np.argmin(np.abs(THRESHOLDS - threshold)))


@pytest.mark.parametrize("threshold", [0.1, 0.25, 0.5, 0.8])
def test_net_benefit_is_hits_minus_weighted_false_alarms_per_clip(threshold):
    acted = threshold <= PROBABILITY
    hits, false_alarms = (acted & POSITIVE).sum(), (acted & ~POSITIVE).sum()
    expected = (hits - false_alarms * threshold / (1 - threshold)) / 60
    assert COUNTS.net_benefit(ALL)[0, at(threshold)] == pytest.approx(expected)


def test_acting_on_all_is_worth_the_prevalence_at_zero_and_nothing_at_the_prevalence():
    prevalence = POSITIVE.mean()
    treat_all = COUNTS.treat_all(ALL)[0]
    assert treat_all == pytest.approx((prevalence - THRESHOLDS) / (1 - THRESHOLDS))
    assert (treat_all > 0).tolist() == (prevalence > THRESHOLDS).tolist()


def test_a_model_that_is_always_sure_equals_acting_on_all_and_a_perfect_one_is_worth_most():
    sure = count_decisions(PATIENT, POSITIVE, np.ones(60))
    assert sure.net_benefit(ALL) == pytest.approx(sure.treat_all(ALL))
    perfect = count_decisions(PATIENT, POSITIVE, POSITIVE.astype(float))
    assert perfect.net_benefit(ALL) == pytest.approx(POSITIVE.mean() * np.ones((1, 99)))
    assert (COUNTS.net_benefit(ALL) <= perfect.net_benefit(ALL)).all()


def test_a_draw_of_patients_counts_their_clips_as_often_as_they_are_drawn():
    weights = RNG.multinomial(30, np.full(30, 1 / 30), 3).astype(float)
    for row, drawn in enumerate(weights):
        clips = np.repeat(np.arange(60), np.repeat(drawn, 2).astype(int))
        names = [f"{clip}" for clip in range(60)]
        again = count_decisions([names[k] for k in clips], POSITIVE[clips], PROBABILITY[clips])
        every = np.ones((1, len(again.patients)))
        assert COUNTS.net_benefit(weights)[row] == pytest.approx(again.net_benefit(every)[0])
        assert COUNTS.treat_all(weights)[row] == pytest.approx(again.treat_all(every)[0])
