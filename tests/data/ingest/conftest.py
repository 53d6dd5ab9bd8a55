"""One decoder process for each ingest of a test."""

import pytest

from lus_ray.data.ingest import part_threads


@pytest.fixture(autouse=True)
def one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where `workers` is not given: to start each more takes longer than these few clips."""
    monkeypatch.setattr(part_threads, "count_cores", lambda: 1)
