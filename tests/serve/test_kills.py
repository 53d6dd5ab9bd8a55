"""Replicas of every part are killed under load: no request is lost, and new replicas start."""

import signal
import time

import psutil
import pytest

from tests.serve.load_client import CONNECTION_LOST, load
from tests.serve.service import Service, request

pytestmark = [pytest.mark.ray, pytest.mark.full]
RECOVERY_SECONDS = 15.0


@pytest.mark.parametrize(
    "slots", [("ingress",), ("backbone", "scorer"), ("classifiers",)], ids=" ".join
)
def test_no_request_is_lost_when_replicas_are_killed_under_load(service, video_file, slots):
    before = {slot: set(service.replicas(slot)) for slot in slots}
    with load(service.url, video_file, clients=4, patient=True) as requests:
        time.sleep(1)
        start = time.time()
        for processes in before.values():
            next(iter(processes)).kill()
        seconds = seconds_to_recover(service, before, since=start)
    assert [r for r in requests if r.status != 200 or "" in r.retry_after] == []
    # Only the ingress has connections to clients.
    assert "ingress" in slots or not any(CONNECTION_LOST in r.retry_after for r in requests)
    assert seconds <= RECOVERY_SECONDS


def test_a_supervisors_signal_after_all_this_leaves_no_process(service):
    service.read_lines.clear()
    while not service.lines.empty():  # Ray reports the replicas killed above
        service.lines.get()
    assert service.end(signal.SIGTERM) == []
    service.wait_for_line("stopped")
    assert service.process.returncode == 0
    assert service.read_lines[-1:] == ["stopped"]
    assert service.lines.empty()
    assert not any("raylet" in line or "Traceback" in line for line in service.read_lines)


def seconds_to_recover(
    service: Service, before: dict[str, set[psutil.Process]], *, since: float
) -> float:
    """Seconds until every slot has a new replica and the service is ready."""
    while time.time() - since < 60:
        renewed = all(set(service.replicas(slot)) - old for slot, old in before.items())
        if renewed and request(f"{service.url}/readyz").status == 200:
            return time.time() - since
        time.sleep(0.1)
    return float("inf")
