"""Replicas of every part that are killed under load: no request is lost, all is whole soon."""

import os
import signal
import time

import psutil
import pytest

from tests.serve.hammer import BROKEN, Shot, hammer, shots
from tests.serve.service import Service, ask

pytestmark = [pytest.mark.ray, pytest.mark.slow]
WHOLE_SECONDS = 15.0


@pytest.mark.parametrize(
    "parts",
    [("ingress", "aggregators"), ("backbone", "segmenter"), ("experts-severity", "scorer")],
    ids=" ".join,
)
def test_no_request_is_lost_when_replicas_are_killed_under_load(service, film_file, parts, capsys):
    victims = {part: service.replicas(part)[0] for part in parts}
    load = hammer(service.url, film_file, seconds=7, clients=4, patient=True)
    time.sleep(2)
    killed = time.time()
    for victim in victims.values():
        os.kill(victim.pid, signal.SIGKILL)
    made = shots(load)
    whole = seconds_to_whole(service, victims, since=killed)
    asked_again = [shot for shot in made if shot.num_attempts > 1]
    with capsys.disabled():
        print(f"\n  {', '.join(parts)}: {len(made)} answered, {len(asked_again)} of them asked "
              f"again, whole after {whole:.1f} s")  # fmt: skip
    assert lost(made) == []
    # Only with an ingress can connections break; no other part is connected to a client.
    assert "ingress" in parts or not any(BROKEN in shot.again for shot in made)
    assert whole <= WHOLE_SECONDS


def test_a_supervisors_signal_after_all_this_leaves_no_process(service, capsys):
    with capsys.disabled():
        assert service.left_by(signal.SIGTERM) == []


def lost(made: list[Shot]) -> list[Shot]:
    """Requests that had no answer, an error, or were sent away without a word of when to come."""
    return [shot for shot in made if shot.status != 200 or "" in shot.again]


def seconds_to_whole(
    service: Service, victims: dict[str, psutil.Process], *, since: float
) -> float:
    """When every part answered again, a new replica in the place of each that was killed."""
    while time.time() - since < 60:
        renewed = all(
            any(one.pid != victim.pid for one in service.replicas(part))
            for part, victim in victims.items()
        )
        if renewed and ask(f"{service.url}/readyz").status == 200:
            return time.time() - since
        time.sleep(0.1)
    return float("inf")
