"""The script of scikit-learn and the cells answer alike; speed itself is not asserted."""

from dataclasses import replace

import pytest

from lus_ray.bench import experts
from lus_ray.bench.cell_runs import Runs, check_equal, phantom_store
from lus_ray.errors import LusError

KINDS, LABELS = ("DT", "NN"), ("severity",)


@pytest.fixture(scope="module")
def runs():
    with phantom_store(patients=16, clips=2, frames=8, size=64, masks="none") as (root, data):
        runs = Runs(experts.experiment(KINDS, LABELS), data, root)
        runs.given = runs.run_in_loop("features", 1, arm="intensity")
        yield runs


@pytest.fixture(scope="module")
def cells(runs):
    return runs.run_in_loop("cells", 1)


def test_the_script_answers_as_the_cells_do(runs, cells):
    answers = experts.script(cells, runs.experiment)
    assert sorted(answers) == [(f"{k}, severity", fold) for k in KINDS for fold in range(3)]
    experts.check_answers(cells, answers)


def test_a_script_that_answers_otherwise_gets_no_ratio(runs, cells):
    answers = experts.script(cells, runs.experiment)
    answers["NN, severity", 1] = answers["NN, severity", 1] + 0.01
    with pytest.raises(LusError, match="'NN, severity' on fold 1 differ from the script's by 1"):
        experts.check_answers(cells, answers)


def test_a_run_with_another_seed_gets_no_ratio(runs, cells):
    other = replace(runs, experiment=replace(runs.experiment, seed=1))
    with pytest.raises(LusError, match=r"/fold0: .* by 'other' differs from ours"):
        check_equal(cells, other.run_in_loop("other", 1), "other")


def test_a_run_with_a_table_less_gets_no_ratio(runs, cells):
    part = runs.run_in_loop("part", 1, folds=(0,))
    with pytest.raises(LusError, match="made 5 prediction tables where ours made 9"):
        check_equal(cells, part, "part")


@pytest.mark.ray
@pytest.mark.slow
def test_experts_are_measured():
    results = experts.measure(1, num_patients=16, kinds=("NN",), labels=LABELS)
    (measured,) = results.values()
    assert [baseline.name for baseline in measured.baselines] == [
        "a loop of scikit-learn",
        "the same cells in a loop",
    ]
    assert measured.target == 1.7
    assert all(baseline.ratio > 0 for baseline in measured.baselines)
