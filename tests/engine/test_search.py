"""Searches: samples are asked for once, scored by validation, pruned on the mean over folds."""

import math
from functools import partial

import optuna
import pytest

from lus_ray.engine.search import WARMUP_EPOCHS, WARMUP_SAMPLES, ArmSearch
from lus_ray.experiment import Arm, Recipe, Search
from lus_ray.tasks import Intensity

SPACE = {"lr": optuna.distributions.FloatDistribution(1e-5, 1e-1, log=True)}


def search(out, over, folds=(0, 1)):
    arm = Arm(
        "a", partial(Intensity), Recipe(epochs=9, batch=1, lr=1), search=Search(SPACE, 9, over)
    )
    return ArmSearch(arm, list(folds), out, seed=0)


def test_over_the_mean_all_folds_of_a_sample_share_their_settings(tmp_path):
    found = search(tmp_path, "mean")
    assert found.cell(0, 0).settings == found.cell(1, 0).settings
    assert found.cell(0, 0).settings != found.cell(0, 1).settings


def test_per_fold_every_fold_has_a_study_of_its_own(tmp_path):
    found = search(tmp_path, "fold")
    assert set(found.studies) == {0, 1}


def test_the_best_sample_is_the_one_with_the_best_mean_and_bad_numbers_never_win(tmp_path):
    found = search(tmp_path, "mean")
    for sample, scores in enumerate([(0.5, 0.5), (0.9, 0.4), (math.nan, 0.9), (0.2, 0.9)]):
        for fold, score in enumerate(scores):
            found.tell(found.cell(fold, sample), score, pruned=False)
    assert found.best(0) == found.best(1) == 1


def test_per_fold_each_fold_has_its_own_best(tmp_path):
    found = search(tmp_path, "fold")
    for sample, scores in enumerate([(0.5, 0.1), (0.4, 0.3)]):
        for fold, score in enumerate(scores):
            found.tell(found.cell(fold, sample), score, pruned=False)
    assert (found.best(0), found.best(1)) == (0, 1)


def test_a_killed_search_goes_on_with_the_same_settings(tmp_path):
    before = search(tmp_path, "mean")
    settings = [before.cell(0, sample).settings for sample in range(3)]
    before.tell(before.cell(0, 0), 0.5, pruned=False)
    after = search(tmp_path, "mean")
    assert [after.cell(1, sample).settings for sample in range(3)] == settings


def test_the_search_learns_where_the_good_settings_are(tmp_path):
    found = search(tmp_path, "mean", folds=[0])
    for sample in range(25):
        cell = found.cell(0, sample)
        distance = abs(math.log10(dict(cell.settings)["lr"]) + 3)
        found.tell(cell, -distance, pruned=False)
    best = dict(found.cell(0, found.best(0)).settings)["lr"]
    assert math.log10(best) == pytest.approx(-3, abs=0.3)


def test_a_hopeless_sample_is_pruned_once_all_its_folds_were_heard(tmp_path):
    found = search(tmp_path, "mean")
    last = WARMUP_EPOCHS + 1
    for sample in range(WARMUP_SAMPLES + 1):
        for epoch in range(last + 1):
            for fold in (0, 1):
                assert not found.hopeless(found.cell(fold, sample), epoch, 0.8 + sample / 100)
        for fold in (0, 1):
            found.tell(found.cell(fold, sample), 0.8, pruned=False)
    bad = WARMUP_SAMPLES + 1
    for epoch in range(last):
        for fold in (0, 1):
            found.hopeless(found.cell(fold, bad), epoch, 0.1)
    assert not found.hopeless(found.cell(0, bad), last, 0.1)
    assert found.hopeless(found.cell(1, bad), last, 0.1)
    assert not found.gave_up(found.cell(0, 0))
    found.tell(found.cell(1, bad), math.nan, pruned=True)
    assert found.gave_up(found.cell(0, bad))
    assert search(tmp_path, "mean").gave_up(found.cell(0, bad))
