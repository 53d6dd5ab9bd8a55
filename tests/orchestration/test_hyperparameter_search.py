"""Searches: samples are asked for once, scored by validation, pruned on the mean over folds."""

import json
import math
from functools import partial

import optuna
import pytest

from lus_ray.experiment import Arm, Recipe, Search
from lus_ray.orchestration.hyperparameter_search import ArmSearch
from lus_ray.runs.cell import Cell
from lus_ray.runs.layout import RunFolder
from lus_ray.tasks import IntensityFeatures

SPACE = {"lr": optuna.distributions.FloatDistribution(1e-5, 1e-1, log=True)}


def search(out, over, folds=(0, 1), epochs=16):
    recipe = Recipe(epochs=epochs, batch=1, lr=1)
    arm = Arm("a", partial(IntensityFeatures), recipe, search=Search(SPACE, 9, over))
    return ArmSearch(arm, list(folds), RunFolder(out), seed=0)


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
            found.record_score(found.cell(fold, sample), score, pruned=False)
    assert found.best_sample(0) == found.best_sample(1) == 1


def test_per_fold_each_fold_has_its_own_best(tmp_path):
    found = search(tmp_path, "fold")
    for sample, scores in enumerate([(0.5, 0.1), (0.4, 0.3)]):
        for fold, score in enumerate(scores):
            found.record_score(found.cell(fold, sample), score, pruned=False)
    assert (found.best_sample(0), found.best_sample(1)) == (0, 1)


def test_a_killed_search_goes_on_with_the_same_settings(tmp_path):
    before = search(tmp_path, "mean")
    settings = [before.cell(0, sample).settings for sample in range(3)]
    before.record_score(before.cell(0, 0), 0.5, pruned=False)
    after = search(tmp_path, "mean")
    assert [after.cell(1, sample).settings for sample in range(3)] == settings


def test_the_search_learns_where_the_good_settings_are(tmp_path):
    found = search(tmp_path, "mean", folds=[0])
    for sample in range(25):
        cell = found.cell(0, sample)
        distance = abs(math.log10(dict(cell.settings)["lr"]) + 3)
        found.record_score(cell, -distance, pruned=False)
    best = dict(found.cell(0, found.best_sample(0)).settings)["lr"]
    assert math.log10(best) == pytest.approx(-3, abs=0.3)


def seen(found, sample, scores, *, epoch):
    """Tell of a sample's folds after an epoch in turn; whether each was pruned."""
    return [found.should_prune(found.cell(fold, sample), epoch, s) for fold, s in scores.items()]


def test_the_worse_half_is_given_up_at_a_rung_by_the_mean_over_folds(tmp_path):
    found = search(tmp_path, "mean")
    assert found.rungs == {2, 4, 8}  # of sixteen epochs
    for sample, mean in enumerate((0.5, 0.6, 0.7)):
        assert seen(found, sample, {0: mean - 0.1, 1: mean + 0.1}, epoch=1) == [False, False]
    assert seen(found, 3, {0: 0.9, 1: 0.2}, epoch=1) == [False, True]  # the third best of four
    assert seen(found, 4, {0: 0.1, 1: 0.1}, epoch=0) == [False, False]
    assert seen(found, 5, {0: 0.7, 1: 0.7}, epoch=1) == [False, False]


@pytest.mark.parametrize(("num_epochs", "rungs"), [(1, set()), (2, {1}), (8, {1, 2, 4})])
def test_what_is_trained_to_its_end_is_not_given_up(tmp_path, num_epochs, rungs):
    assert search(tmp_path, "mean", epochs=num_epochs).rungs == rungs


def test_a_lost_cell_of_a_sample_that_came_to_its_end_is_made_again(tmp_path):
    found = search(tmp_path, "mean")
    for sample, mean in enumerate((0.1, 0.9)):
        assert seen(found, sample, {0: mean, 1: mean}, epoch=1) == [False, False]
        for fold in (0, 1):
            found.record_score(found.cell(fold, sample), mean, pruned=False)
    again = search(tmp_path, "mean")
    again.scores_at.update({key: dict(scores) for key, scores in found.scores_at.items()})
    assert seen(again, 0, {1: 0.1}, epoch=1) == [False]


def test_the_last_fold_of_a_bad_sample_is_given_up_before_it_comes_so_far(tmp_path):
    found = search(tmp_path, "mean", folds=(0, 1, 2))
    for sample in range(3):
        assert not any(seen(found, sample, dict.fromkeys(range(3), 0.8), epoch=1))
    bad = found.cell(0, 3)
    assert seen(found, 3, {0: 0.1, 1: 0.1}, epoch=1) == [False, True]
    assert not found.is_pruned(bad)
    found.record_score(found.cell(1, 3), math.nan, pruned=True)
    assert found.is_pruned(found.cell(2, 3))
    assert seen(found, 3, {0: 0.9}, epoch=2) == [True]
    again = search(tmp_path, "mean", folds=(0, 1, 2))
    assert again.is_pruned(found.cell(2, 3))
    assert not again.is_pruned(found.cell(2, 0))


def test_per_fold_a_fold_is_held_against_itself_alone(tmp_path):
    found = search(tmp_path, "fold")
    assert seen(found, 0, {0: 0.9, 1: 0.1}, epoch=1) == [False, False]
    assert seen(found, 1, {0: 0.5, 1: 0.2}, epoch=1) == [True, False]


def test_a_number_that_is_none_gives_up_nothing(tmp_path):
    found = search(tmp_path, "mean", folds=(0,))
    assert seen(found, 0, {0: 0.5}, epoch=1) == [False]
    assert seen(found, 1, {0: math.nan}, epoch=1) == [False]


def test_after_a_restart_samples_are_held_against_those_from_before(tmp_path):
    for sample, score in enumerate((0.8, 0.9)):
        for fold in (0, 1):
            path = RunFolder(tmp_path).cell(Cell("a", fold, sample)).metrics
            path.parent.mkdir(parents=True)
            lines = [{"epoch": 0, "val_score": 0.1}, {"epoch": 1, "val_score": score}]
            text = "".join(json.dumps(line) + "\n" for line in lines)
            path.write_text(text + '{"epoch": 2, "val_')
    found = search(tmp_path, "mean")
    assert seen(found, 2, {0: 0.5, 1: 0.6}, epoch=1) == [False, True]
