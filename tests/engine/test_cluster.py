"""Connecting: nobody at an address is said at once, and unsafe settings are refused."""

import time

import pytest

from lus_ray.engine.cluster import UNSAFE, connected
from lus_ray.errors import InputError


def test_nobody_at_an_address_is_said_within_seconds():
    began = time.monotonic()
    with (
        pytest.raises(InputError, match=r"no Ray cluster at 127\.0\.0\.1:1"),
        connected("127.0.0.1:1"),
    ):
        pass
    assert time.monotonic() - began < 10


def test_a_setting_that_lets_parquet_run_code_is_refused(monkeypatch):
    monkeypatch.setenv(UNSAFE, "1")
    with pytest.raises(InputError, match="unset it"), connected(None):
        pass
