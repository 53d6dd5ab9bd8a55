"""The scikit-learn script and the cells predict the same."""

from dataclasses import replace

import pytest

from lus_ray.bench import experts
from lus_ray.bench.cell_runs import Runs, check_equal, phantom_store
from lus_ray.errors import LusError

pytestmark = [pytest.mark.slow, pytest.mark.full]
KINDS = ("DT", "NN")


@pytest.fixture(scope="module")
def runs():
    with phantom_store(patients=16, clips=2, frames=4, size=64, masks="none") as (root, data):
        runs = Runs(experts.experiment(KINDS, ("severity",)), data, root)
        runs.given = runs.run_alone("features", arm="intensity")
        yield runs


@pytest.fixture(scope="module")
def cells(runs):
    return runs.run_alone("cells")


def test_only_a_script_that_predicts_what_the_cells_do_gets_a_ratio(runs, cells):
    results = experts.fit_in_script(cells, runs.experiment)
    assert sorted(results) == [(f"{kind}, severity", fold) for kind in KINDS for fold in range(3)]
    experts.check_predictions(cells, results)
    results["NN, severity", 1] = results["NN, severity", 1] + 0.01
    with pytest.raises(LusError, match="'NN, severity' on fold 1 differ from the script's by 1"):
        experts.check_predictions(cells, results)


@pytest.mark.parametrize(
    ("seed", "folds", "reason"),
    [
        (1, (), r"/fold0.parquet: .* by 'other' differ from ours"),
        (0, (0,), "made 5 prediction tables where ours made 9"),
    ],
)
def test_a_run_with_another_seed_or_fewer_tables_gets_no_ratio(runs, cells, seed, folds, reason):
    other = replace(runs, experiment=replace(runs.experiment, seed=seed))
    with pytest.raises(LusError, match=reason):
        check_equal(cells, other.run_alone("other", folds), "other")
