"""A campaign's place on a shared cluster: as many run at once as it declares drivers.

A cluster caps its campaigns with a custom resource, `resources: {"driver": 4}` on its head. Each
holds one for as long as it runs; one without a place waits and says so.
"""

import contextlib
import time
from collections.abc import Callable, Iterator

import ray
from ray.util.placement_group import placement_group, remove_placement_group

from lus_ray.orchestration.cluster.resources import DRIVER

SAY_SECONDS = 60
FIRST_SECONDS = 3


@contextlib.contextmanager
def admit_campaign(say: Callable[[str], None]) -> Iterator[None]:
    """Hold one of the cluster's places for a campaign; `say` tells how many others run meanwhile.

    A cluster that declares none hosts as many as come. The place is given back on every way out;
    where the process is killed, Ray gives back what it held.
    """
    most = int(ray.cluster_resources().get(DRIVER, 0))
    if not most:
        yield
        return
    group = placement_group([{DRIVER: 1}], name="campaign")
    try:
        began, patience = time.monotonic(), FIRST_SECONDS
        while not group.wait(patience):
            waited = time.monotonic() - began
            running = most - int(ray.available_resources().get(DRIVER, 0))
            say(f"{running} of {most} campaigns run; waiting for a place for {waited:.0f} s")
            patience = SAY_SECONDS
        yield
    finally:
        remove_placement_group(group)
