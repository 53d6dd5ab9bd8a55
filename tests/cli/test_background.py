import time

import pytest

from lus_ray.cli.background import run_beside
from lus_ray.errors import DecodeError, InputError


def wait(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:  # in small steps, like imports
        time.sleep(0.01)


def refuse():
    raise DecodeError("a.mp4: truncated")


@pytest.mark.parametrize("delay", [0.0, 0.001, 0.1])
def test_an_error_in_the_background_ends_the_block_at_once(delay):
    start = time.monotonic()
    with pytest.raises(DecodeError, match="truncated"):
        run_beside(lambda: wait(delay) or refuse(), lambda: wait(20))
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("delays", [(0.0, 0.1), (0.1, 0.0)])
def test_both_results_are_there_however_long_either_takes(delays):
    one, other = delays
    assert run_beside(lambda: wait(one) or 7, lambda: wait(other) or 8) == (7, 8)


def test_an_error_after_the_block_is_raised():
    with pytest.raises(DecodeError, match="truncated"):
        run_beside(lambda: wait(0.2) or refuse(), lambda: None)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, InputError])
def test_an_interruption_or_error_of_the_block_stays_one(kind):
    def fail():
        raise kind("stop")

    with pytest.raises(kind):
        run_beside(lambda: wait(0.1), fail)
