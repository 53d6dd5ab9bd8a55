"""Finished runs that tests only read."""

import pytest

from tests.evaluation.diagnosis_run import write_diagnosis_run
from tests.evaluation.domain_run import write_domain_run
from tests.evaluation.frame_run import write_frame_run
from tests.evaluation.mask_run import write_mask_run
from tests.evaluation.run_folders import compute


@pytest.fixture(scope="session")
def frame_run(tmp_path_factory):
    return compute(write_frame_run(tmp_path_factory.mktemp("frames")))


@pytest.fixture(scope="session")
def mask_run(tmp_path_factory):
    return compute(write_mask_run(tmp_path_factory.mktemp("masks")))


@pytest.fixture(scope="session")
def domain_run(tmp_path_factory):
    return compute(write_domain_run(tmp_path_factory.mktemp("domains")), num_draws=200)


@pytest.fixture(scope="session")
def diagnosis_run(tmp_path_factory):
    return compute(write_diagnosis_run(tmp_path_factory.mktemp("diagnosis")), num_draws=100)
