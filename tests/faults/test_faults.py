"""Some fault runs with their promises; `python -m tests.faults.campaign` makes more of them."""

import os

import pytest

from tests.faults.bed import KINDS, Bed
from tests.faults.outcome import Outcome, table

pytestmark = [pytest.mark.full, pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

NUM_RUNS = int(os.environ.get("LUS_TEST_FAULTS", "1"))


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Bed:
    return Bed(tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize("seed", range(NUM_RUNS))
@pytest.mark.parametrize("kind", KINDS)
def test_a_kill_at_a_random_moment_changes_no_result_and_loses_nothing(bed, capfd, kind, seed):
    outcome = bed.run(kind, seed)
    if outcome.missed:
        pytest.skip("the campaign ended before its random moment")
    with capfd.disabled():
        print(f"\n  {outcome.line()}")
    assert not outcome.wrong, outcome.said


def test_the_table_counts_what_went_wrong():
    rows = table([Outcome("trial", 0, back_s=2.0), Outcome("trial", 1, wrong=["other results"])])
    assert rows.splitlines()[1].split() == ["trial", "2", "1", "0.0", "s", "2.0", "s"]
