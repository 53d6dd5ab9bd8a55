"""Every rival trains the very cells that a campaign trains; speed itself is not asserted."""

import pytest

from lus_ray.bench import cells
from lus_ray.bench.cell_runs import Runs, check_equal, phantoms, two_processes
from lus_ray.errors import LusError


@pytest.fixture(scope="module")
def place():
    with phantoms(patients=16, clips=1, frames=4, size=64, masks="none") as found:
        yield found


def runs(place, num_draws=8):
    root, data = place
    return Runs(cells.experiment(("cnn",), num_draws), data, root)


@pytest.mark.slow
def test_a_loop_and_two_processes_make_equal_tables(place):
    one = runs(place)
    loop = one.one_after_another("loop", 1)
    assert len(list(loop.glob("predictions/cnn/fold*.parquet"))) == 4
    with two_processes() as pool:
        check_equal(loop, one.in_processes("pool", pool), "two processes")


def test_cells_that_saw_more_frames_get_no_ratio(place):
    loop = runs(place).one_after_another("loop", 1, folds=(0,))
    more = runs(place, num_draws=16).one_after_another("more", 1, folds=(0,))
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
    assert (len(together.rivals), together.target) == (2, 1.6)
    assert (len(processes.rivals), processes.target) == (1, None)
    assert start.rivals == added.rivals == ()
    assert start.wall_ms > 0
    assert added.target == 3000
