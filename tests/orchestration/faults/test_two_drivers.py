"""Two commands on one run folder: the second is refused, until the first is gone."""

import time

import pytest

from tests.orchestration.faults.command import Command

pytestmark = [pytest.mark.full, pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

TIMEOUT_S = 300
REFUSED_S = 5.0


def test_a_second_driver_is_refused_and_a_third_goes_on_after_a_kill(
    phantom_store, tmp_path, capfd
):
    first = Command(phantom_store, tmp_path)
    while not (tmp_path / "campaign.json").exists():
        assert first.process.poll() is None
        time.sleep(0.1)
    second = Command(phantom_store, tmp_path)
    assert second.wait(TIMEOUT_S) == 2
    seconds = second.seconds
    assert len(second.lines) == 1
    assert f"process {first.process.pid} on host" in second.lines[0]
    first.process.kill()
    first.wait(10)
    third = Command(phantom_store, tmp_path)
    assert third.wait(TIMEOUT_S) == 0
    with capfd.disabled():
        print(f"\n  refused after {seconds:.1f} s")
    assert seconds < REFUSED_S
