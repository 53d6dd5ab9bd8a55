"""A Ray cluster of two CPUs for the tests of a file, and commands run as a user would."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import ray

from lus_ray.orchestration.cluster import connection

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def two_cpus():
    """A local cluster with two CPUs, whatever the machine has."""
    with local_cluster(2):
        yield


@pytest.fixture(scope="module")
def three_cpus():
    """One more, so that two workers leave a CPU to their data."""
    with local_cluster(3):
        yield


@contextlib.contextmanager
def local_cluster(num_cpus):
    os.environ.update(connection.QUIET)
    ray.init(
        address="local",
        num_cpus=num_cpus,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
    )
    yield
    ray.shutdown()


@pytest.fixture
def lus():
    """`lus("run", ...)` runs the command in a process of its own and returns what it did."""

    def command(*words: str | Path, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "lus_ray.cli", *map(str, words)],
            capture_output=True, text=True, timeout=timeout, cwd=ROOT, check=False,
        )  # fmt: skip

    return command
