"""Every baseline trains the cells of a campaign."""

import pytest

from lus_ray.bench import cells
from lus_ray.bench.cell_runs import Runs, check_equal, phantom_store, two_processes
from lus_ray.errors import LusError


@pytest.fixture(scope="module")
def folders():
    with phantom_store(patients=16, clips=1, frames=4, size=64, masks="none") as folders:
        yield folders


def runs(folders, num_draws=8):
    root, data = folders
    return Runs(cells.experiment(("cnn",), num_draws), data, root)


@pytest.mark.full
@pytest.mark.slow
def test_a_loop_and_two_processes_make_equal_tables(folders):
    same = runs(folders)
    loop = same.run_in_loop("loop", 1)
    assert len(list(loop.glob("predictions/cnn/fold*.parquet"))) == 4
    with two_processes() as pool:
        check_equal(loop, same.run_in_pool("pool", pool), "two processes")


def test_cells_trained_on_more_frames_get_no_ratio(folders):
    loop = runs(folders).run_in_loop("loop", 1, folds=(0,))
    more = runs(folders, num_draws=16).run_in_loop("more", 1, folds=(0,))
    with pytest.raises(LusError, match=r"cnn/fold0: .* by 'more' differs from ours"):
        check_equal(loop, more, "more")
    check_equal(loop, more, "more", without=cells.PREDICTIONS)
