"""Every baseline trains the very cells that a campaign trains; speed itself is not asserted."""

import pytest

from lus_ray.bench import cells
from lus_ray.bench.cell_runs import Runs, check_equal, phantom_store, two_processes
from lus_ray.errors import LusError


@pytest.fixture(scope="module")
def place():
    with phantom_store(patients=16, clips=1, frames=4, size=64, masks="none") as found:
        yield found


def runs(place, num_draws=8):
    root, data = place
    return Runs(cells.experiment(("cnn",), num_draws), data, root)


@pytest.mark.slow
def test_a_loop_and_two_processes_make_equal_tables(place):
    one = runs(place)
    loop = one.run_in_loop("loop", 1)
    assert len(list(loop.glob("predictions/cnn/fold*.parquet"))) == 4
    with two_processes() as pool:
        check_equal(loop, one.run_in_pool("pool", pool), "two processes")


def test_cells_that_saw_more_frames_get_no_ratio(place):
    loop = runs(place).run_in_loop("loop", 1, folds=(0,))
    more = runs(place, num_draws=16).run_in_loop("more", 1, folds=(0,))
    with pytest.raises(LusError, match=r"cnn/fold0: .* by 'more' differs from ours"):
        check_equal(loop, more, "more")
    check_equal(loop, more, "more", without=cells.ANSWERS)


@pytest.mark.ray
@pytest.mark.slow
def test_cells_are_measured():
    found = cells.measure(1, num_patients=16, num_draws=8, networks=("cnn",))
    assert list(found) == [
        "4 cells, cluster running",
        "against processes",
        "start and end of Ray",
        "added per cell",
    ]
    together, processes, start, added = found.values()
    assert (len(together.baselines), together.target) == (2, 1.6)
    assert (len(processes.baselines), processes.target) == (1, None)
    assert start.baselines == added.baselines == ()
    assert start.wall_ms > 0
    assert added.target == 3000
