"""Kills at random moments break no promise; LUS_TEST_FAULTS=5 makes more of them."""

import os

import pytest

from tests.orchestration.faults.runner import FAULTS, FaultRunner

pytestmark = [pytest.mark.full, pytest.mark.ray, pytest.mark.timeout(900)]
NUM_RUNS = int(os.environ.get("LUS_TEST_FAULTS", "1"))


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> FaultRunner:
    return FaultRunner(tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize("seed", range(NUM_RUNS))
@pytest.mark.parametrize("name", FAULTS)
def test_a_kill_at_a_random_moment_changes_no_result_and_loses_nothing(runner, name, seed):
    violations = runner.run(name, seed)
    if violations is None:
        pytest.skip("the campaign ended before its random moment")
    assert violations == []
