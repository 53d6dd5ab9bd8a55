from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import lus_ray.folds as folds
from lus_ray.evaluation import verdicts
from lus_ray.evaluation.verdicts import MeasuredDifference, decide, holm_levels
from lus_ray.folds import Fold
from lus_ray.metrics.bootstrap import resample_patients
from lus_ray.metrics.significance import holm
from tests.evaluation.run_folders import PATIENTS, PROTOCOL, arm, compute, write_cell, write_run

PRIOR, STRONG = arm("class prior", baseline=True), arm("e2e", recipe={"epochs": 3})
CLAIM = {"text": "e2e is better.", "metric": "auc", "better": "e2e", "than": "class prior"}
VERDICTS = ("supported", "contradicted", "undecided")
TESTED = tuple(f"phantom/t{number:02d}" for number in range(24))


def write_arms(out, claims, *, skill=0.5, patients=TESTED, size="laptop"):
    write_run(out, [PRIOR, STRONG], claims=claims, size=size)
    fold = Fold(0, tuple(PATIENTS[1:]), tuple(PATIENTS[:1]), tuple(patients))
    folds.write([fold], out / "folds.json", protocol=PROTOCOL, seed=0)
    for entry, own in ((PRIOR, 0.0), (STRONG, skill)):
        write_cell(out, entry, 0, skill=own, seed=3, patients=patients)
    return compute(out).contents.claims


def test_a_claim_is_supported_contradicted_or_undecided_by_its_adjusted_interval(tmp_path):
    claims = [
        CLAIM,
        {**CLAIM, "text": "The prior is better.", "better": "class prior", "than": "e2e"},
        {**CLAIM, "text": "e2e beats itself.", "than": "e2e"},
    ]
    right, wrong, equal = write_arms(tmp_path, claims)
    assert (right.verdict, wrong.verdict, equal.verdict) == (
        "supported", "contradicted", "undecided",
    )  # fmt: skip
    assert right.difference == pytest.approx(-wrong.difference)
    assert right.difference > right.adjusted_interval[0] > 0 > wrong.adjusted_interval[1]
    assert right.p < right.adjusted_p < 0.05
    assert right.num_patients == 24
    assert (equal.difference, equal.p, equal.detectable) == (0, 1, 0)


def test_an_arm_is_as_good_within_a_margin(tmp_path):
    claim = {**CLAIM, "better": "class prior", "than": "e2e"}
    weaker, as_good = write_arms(
        tmp_path, [claim, {**claim, "text": "As good.", "margin": 0.9}], skill=0.2
    )
    assert weaker.difference == as_good.difference < 0
    assert (weaker.verdict, as_good.verdict) == ("contradicted", "supported")


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"size": "smoke"}, "size smoke is below laptop size"),
        ({"size": "demo"}, "size demo is below laptop size"),
        ({"patients": TESTED[:19]}, "19 test patients; at least 20 are needed"),
    ],
)
def test_small_runs_decide_nothing_and_still_show_the_difference(tmp_path, facts, reason):
    [claim] = write_arms(tmp_path, [CLAIM], **facts)
    assert (claim.verdict, claim.reason) == ("undecided", reason)
    assert claim.difference > 0
    assert claim.detectable > 0


@pytest.mark.parametrize(
    ("change", "prior_folds", "reason"),
    [
        ({"better": "absent"}, 3, "there is no arm 'absent' in this run"),
        ({"metric": "dice"}, 3, "e2e: folds 0, 1, 2: dice is not a metric of severity"),
        ({}, 2, "class prior: fold 2 is not finished"),
        ({}, 3, "auc is undefined in fold 2"),
    ],
)
def test_a_claim_that_is_not_tested_says_why(tmp_path, change, prior_folds, reason):
    write_run(tmp_path, [PRIOR, STRONG], claims=[{**CLAIM, **change}])
    for fold in range(3):
        write_cell(tmp_path, STRONG, fold, target=[1] * 48 if fold == 2 else None)
    for fold in range(prior_folds):
        write_cell(tmp_path, PRIOR, fold)
    [claim] = compute(tmp_path).contents.claims
    assert claim.verdict == "not tested"
    assert claim.reason.startswith(reason)
    assert (claim.difference, claim.interval, claim.p) == (None, None, None)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_the_level_of_a_claim_decides_as_its_corrected_p(p):
    levels, adjusted = holm_levels(np.array(p)), holm(np.array(p))
    for own, level, corrected in zip(p, levels, adjusted, strict=True):
        if abs(own - level) > 1e-9:
            assert (own < level) == (corrected < verdicts.ALPHA)


@given(st.floats(-1, 1), st.floats(0.01, 1), st.integers(2, 400), st.floats(0.001, 0.2))
def test_an_interval_excludes_the_bound_where_p_is_below_its_level(value, error, num, level):
    difference = MeasuredDifference(value, error, num, margin=0.1)
    if abs(difference.p - level) > 1e-9:
        assert (decide(difference, level) != "undecided") == (difference.p < level)


FULL = pytest.mark.full


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num_patients", "num_claims"),
    [
        (20, 1), (20, 5), pytest.param(46, 5, marks=FULL), pytest.param(46, 1, marks=FULL),
        pytest.param(300, 1, marks=FULL), pytest.param(300, 5, marks=FULL),
    ],
)  # fmt: skip
def test_verdicts_are_as_often_right_as_they_state(num_patients, num_claims):
    """Of one claim the true effect is 0, or one that is found with a power of 80 %; the others
    have none. Each simulated study is decided from draws of patients, as in a report."""
    none = decide_studies(0.0, num_patients, num_claims)
    assert none["supported"] <= 0.03
    assert none["contradicted"] <= 0.03
    found = decide_studies(power_effect(num_patients, num_claims), num_patients, num_claims)
    assert found["undecided"] <= 0.25
    assert found["contradicted"] <= 0.01


def decide_studies(effect, num_patients, num_claims, num_studies=4000, num_draws=500):
    """Shares of verdicts on the first claim of each study."""
    rng = np.random.default_rng([num_patients, num_claims])
    weights = resample_patients(num_patients, num_draws=num_draws, rng=rng) / num_patients
    by_patient = rng.standard_normal((num_claims, num_patients, num_studies))
    by_patient[0] += effect
    errors = np.stack([(weights @ own).std(axis=0, ddof=1) for own in by_patient])
    counts = Counter()
    for means, own in zip(by_patient.mean(axis=1).T.tolist(), errors.T.tolist(), strict=True):
        claims = [
            verdicts.measured(mean, error, num_patients)
            for mean, error in zip(means, own, strict=True)
        ]
        levels = holm_levels(np.array([claim.p for claim in claims]))
        counts[decide(claims[0], float(levels[0]))] += 1
    return {verdict: counts[verdict] / num_studies for verdict in VERDICTS}


def power_effect(num_patients, num_claims):
    """The mean difference, in standard deviations, that a corrected t-test finds with 80 %."""
    df = num_patients - 1
    critical = stats.t.ppf(1 - verdicts.ALPHA / num_claims / 2, df)
    effects = np.linspace(0, 3, 3001)
    power = stats.nct.sf(critical, df, effects * np.sqrt(num_patients))
    return float(effects[np.searchsorted(power, 0.8)])
