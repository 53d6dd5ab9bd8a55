"""Other cells than those of a campaign are refused."""

import pytest

from lus_ray.bench import cells
from lus_ray.bench.cell_runs import Runs, check_equal, phantom_store
from lus_ray.errors import LusError


@pytest.mark.slow
def test_cells_trained_on_more_frames_get_no_ratio():
    with phantom_store(patients=16, clips=1, frames=4, size=64, masks="none") as (root, data):
        loop, more = (
            Runs(cells.experiment(("cnn",), num_draws), data, root).run_alone(str(num_draws), (0,))
            for num_draws in (8, 16)
        )
        with pytest.raises(LusError, match=r"cnn/fold0.parquet: .* by 'more' differ from ours"):
            check_equal(loop, more, "more")
