"""One measured external test that tests only read."""

import pytest

from lus_ray.evaluation import external
from tests.evaluation.external.external_run import write_external
from tests.evaluation.run_folders import compute


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    return write_external(tmp_path_factory.mktemp("external"))


@pytest.fixture(scope="session")
def measured(folders):
    return external.measure(*folders, num_draws=60)


@pytest.fixture(scope="session")
def reports(folders):
    """The reports of the run and of the evaluation."""
    return [compute(out, num_draws=60) for out in folders]
