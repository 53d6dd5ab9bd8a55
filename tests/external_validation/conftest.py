"""Tiny trained runs, and a store of other phantom patients."""

import shutil

import pytest

from lus_ray.data.ingest.pipeline import ingest
from lus_ray.figures import charts
from tests.conftest import make_once
from tests.inference.conftest import runs as runs  # trained once for all tests


@pytest.fixture(scope="module", autouse=True)
def without_charts():
    """Empty charts: drawing takes longer than everything else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(charts, "render_svg", lambda draw, **settings: "<svg></svg>")
        yield


@pytest.fixture(scope="session")
def external(tmp_path_factory):
    """Six patients whom no run knows, with every label."""

    def make(folder):
        options = {"patients": 6, "clips": 1, "frames": 4, "size": 64, "masks": "markers"}
        ingest("phantom", None, folder / "elsewhere", seed=1, **options)

    return make_once(tmp_path_factory, "external", make) / "elsewhere"


@pytest.fixture
def labels_run(runs, tmp_path):
    """A copy that a test may write into."""
    return shutil.copytree(runs / "labels", tmp_path / "labels")
