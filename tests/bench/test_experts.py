"""The scikit-learn script and the cells predict the same."""

from dataclasses import replace

import pytest

from lus_ray.bench import experts
from lus_ray.bench.cell_runs import Runs, check_equal, phantom_store
from lus_ray.errors import LusError

KINDS = ("DT", "NN")


@pytest.fixture(scope="module")
def runs():
    with phantom_store(patients=16, clips=2, frames=8, size=64, masks="none") as (root, data):
        runs = Runs(experts.experiment(KINDS, ("severity",)), data, root)
        runs.given = runs.run_in_loop("features", 1, arm="intensity")
        yield runs


@pytest.fixture(scope="module")
def cells(runs):
    return runs.run_in_loop("cells", 1)


def test_only_a_script_that_predicts_what_the_cells_do_gets_a_ratio(runs, cells):
    results = experts.fit_in_script(cells, runs.experiment)
    assert sorted(results) == [(f"{kind}, severity", fold) for kind in KINDS for fold in range(3)]
    experts.check_predictions(cells, results)
    results["NN, severity", 1] = results["NN, severity", 1] + 0.01
    with pytest.raises(LusError, match="'NN, severity' on fold 1 differ from the script's by 1"):
        experts.check_predictions(cells, results)


def test_a_run_with_another_seed_gets_no_ratio(runs, cells):
    reseeded = replace(runs, experiment=replace(runs.experiment, seed=1))
    with pytest.raises(LusError, match=r"/fold0: .* by 'other' differs from ours"):
        check_equal(cells, reseeded.run_in_loop("other", 1), "other")


def test_a_run_without_a_table_gets_no_ratio(runs, cells):
    part = runs.run_in_loop("part", 1, folds=(0,))
    with pytest.raises(LusError, match="made 5 prediction tables where ours made 9"):
        check_equal(cells, part, "part")
