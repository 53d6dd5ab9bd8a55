"""Searches: settings of samples, scores by validation, pruning on the mean over folds."""

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


@pytest.fixture
def start(tmp_path):
    """`start(over, folds)` starts a search of 16 epochs, or resumes it."""

    def search(over="mean", folds=(0, 1), epochs=16):
        recipe = Recipe(epochs=epochs, batch=1, lr=1)
        arm = Arm("a", partial(IntensityFeatures), recipe, search=Search(SPACE, 9, over))
        return ArmSearch(arm, list(folds), RunFolder(tmp_path), seed=0)

    return search


def record(search, *samples):
    """Record the scores of samples on each fold."""
    for sample, scores in enumerate(samples):
        for fold, score in enumerate(scores):
            search.record_score(search.cell(fold, sample), score, pruned=False)


def report(search, sample, *scores, epoch=1):
    """Report the scores of an epoch on each fold; whether each fold is pruned."""
    cells = (search.cell(fold, sample) for fold in range(len(scores)))
    return [search.should_prune(cell, epoch, s) for cell, s in zip(cells, scores, strict=True)]


def test_the_first_sample_is_the_arm_unchanged(start):
    assert [start(over).cell(0, 0).settings for over in ("mean", "fold")] == [(), ()]


def test_folds_share_the_settings_of_a_sample_or_have_their_own_study(start):
    search = start("mean")
    settings = [[search.cell(fold, sample).settings for fold in (0, 1)] for sample in range(3)]
    assert settings[1][0] == settings[1][1] != settings[2][0]
    assert set(start("fold").studies) == {0, 1}


def test_the_best_sample_has_the_best_finite_mean_or_the_best_score_of_its_fold(start):
    search = start("mean")
    record(search, (0.5, 0.5), (0.9, 0.4), (math.nan, 0.9), (0.2, 0.9))
    assert search.best_sample(0) == search.best_sample(1) == 1
    search = start("fold")
    record(search, (0.5, 0.1), (0.4, 0.3))
    assert (search.best_sample(0), search.best_sample(1)) == (0, 1)


def test_a_fold_without_a_validation_score_does_not_decide_over_the_others(start):
    search = start("mean")
    record(search, (math.nan, 0.5), (math.nan, 0.9), (math.nan, 0.2))
    assert search.best_sample(0) == search.best_sample(1) == 1


def test_the_result_has_every_sample_with_its_state_and_the_chosen_one(start):
    search = start("mean")
    record(search, (0.5, 0.5), (0.9, 0.3))
    search.record_score(search.cell(0, 2), math.nan, pruned=True)
    search.record_score(search.cell(0, 3), math.nan, pruned=True)
    result = search.result(failed=[Cell("a", 0, 3)])
    assert (result.unchanged, result.space) == ({"lr": 1}, {"lr": "1e-05 to 0.1, logarithmic"})
    states = [(own.state, own.is_chosen, own.score) for own in result.samples]
    assert states[:2] == [("finished", False, 0.5), ("finished", True, pytest.approx(0.6))]
    assert states[2:] == [("pruned", False, None), ("failed", False, None)]
    assert result.samples[1].scores == {0: 0.9, 1: 0.3}
    assert result.samples[2].scores == {0: None}


def test_a_killed_search_resumes_with_the_same_settings(start):
    before = start()
    settings = [before.cell(0, sample).settings for sample in range(3)]
    before.record_score(before.cell(0, 0), 0.5, pruned=False)
    after = start()
    assert [after.cell(1, sample).settings for sample in range(3)] == settings


def test_the_search_finds_good_settings(start):
    search = start(folds=[0])
    for sample in range(25):
        cell = search.cell(0, sample)
        distance = abs(math.log10(dict(cell.settings).get("lr", 1)) + 3)
        search.record_score(cell, -distance, pruned=False)
    best = dict(search.cell(0, search.best_sample(0)).settings)["lr"]
    assert math.log10(best) == pytest.approx(-3, abs=0.3)


@pytest.mark.parametrize(
    ("num_epochs", "rungs"), [(1, set()), (2, {1}), (8, {1, 2, 4}), (16, {2, 4, 8})]
)
def test_rungs_are_parts_of_the_training_and_never_its_end(start, num_epochs, rungs):
    assert start(epochs=num_epochs).rungs == rungs


def test_the_worse_half_is_pruned_at_a_rung_by_the_mean_over_folds(start):
    search = start()
    for sample, mean in enumerate((0.5, 0.6, 0.7)):
        assert report(search, sample, mean - 0.1, mean + 0.1) == [False, False]
    assert report(search, 3, 0.9, 0.2) == [False, True]  # the third best of four
    assert report(search, 4, 0.1, 0.1, epoch=0) == [False, False]
    assert report(search, 5, 0.7, 0.7) == [False, False]


def test_a_lost_cell_of_a_sample_that_has_ended_runs_again(start):
    search = start()
    for sample, mean in enumerate((0.1, 0.9)):
        assert report(search, sample, mean, mean) == [False, False]
    record(search, (0.1, 0.1), (0.9, 0.9))
    resumed = start()
    resumed.scores_at.update({key: dict(scores) for key, scores in search.scores_at.items()})
    assert not resumed.should_prune(resumed.cell(1, 0), 1, 0.1)


def test_the_last_fold_of_a_bad_sample_is_pruned_before_it_starts(start):
    search = start(folds=(0, 1, 2))
    for sample in range(3):
        assert not any(report(search, sample, 0.8, 0.8, 0.8))
    assert report(search, 3, 0.1, 0.1) == [False, True]
    assert not search.is_pruned(search.cell(0, 3))
    search.record_score(search.cell(1, 3), math.nan, pruned=True)
    assert search.is_pruned(search.cell(2, 3))
    assert report(search, 3, 0.9, epoch=2) == [True]
    resumed = start(folds=(0, 1, 2))
    assert resumed.is_pruned(search.cell(2, 3))
    assert not resumed.is_pruned(search.cell(2, 0))


def test_searches_per_fold_compare_finite_scores_of_each_fold(start):
    search = start("fold")
    assert report(search, 0, 0.9, 0.1) == [False, False]
    assert report(search, 1, 0.5, 0.2) == [True, False]
    assert report(search, 2, math.nan, math.nan) == [False, False]


def test_a_resumed_search_compares_with_samples_from_before(start, tmp_path):
    for sample, score in enumerate((0.8, 0.9)):
        for fold in (0, 1):
            path = RunFolder(tmp_path).cell(Cell("a", fold, sample)).metrics
            path.parent.mkdir(parents=True)
            rows = [{"epoch": 0, "val_score": 0.1}, {"epoch": 1, "val_score": score}]
            text = "".join(json.dumps(row) + "\n" for row in rows)
            path.write_text(text + '{"epoch": 2, "val_')
    assert report(start(), 2, 0.5, 0.6) == [False, True]
