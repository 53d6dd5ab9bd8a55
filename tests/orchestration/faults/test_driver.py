"""A second command on a run folder is refused while the first runs; an interrupt ends all of it."""

import signal
import time

import pytest

from tests.orchestration.faults.command import Command

pytestmark = [pytest.mark.full, pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]
TIMEOUT_S, REFUSED_S = 300, 5.0


def test_a_second_driver_is_refused_and_a_third_resumes_after_a_kill(phantom_store, tmp_path):
    first = Command(phantom_store, tmp_path)
    while not (tmp_path / "campaign.json").exists():
        assert first.process.poll() is None
        time.sleep(0.1)
    second = Command(phantom_store, tmp_path)
    assert second.wait(TIMEOUT_S) == 2
    assert second.seconds < REFUSED_S
    (line,) = second.lines
    assert f"process {first.process.pid} on host" in line
    first.process.kill()
    first.wait(10)
    assert Command(phantom_store, tmp_path).wait(TIMEOUT_S) == 0


def test_an_interrupt_ends_the_command_with_its_own_code_and_every_process(phantom_store, tmp_path):
    command = Command(phantom_store, tmp_path)
    command.wait_for_a_cell()
    assert len(command.processes()) == 3
    command.process.send_signal(signal.SIGINT)
    assert command.wait(60) == 130
    assert command.left_over(30) == []
