"""Admission of campaigns to a shared cluster.

A cluster limits its campaigns with a custom resource, such as `resources: {"driver": 4}` on its
head. Each campaign holds one unit while it runs.
"""

import contextlib
import time
from collections.abc import Callable, Iterator

import ray
from ray.util.placement_group import placement_group, remove_placement_group

from lus_ray.orchestration.cluster.resources import DRIVER

FIRST_NOTICE_S, NOTICE_S = 3, 60


@contextlib.contextmanager
def admit_campaign(notify: Callable[[str], None]) -> Iterator[None]:
    """Hold one unit of the `driver` resource for the length of the block, waiting for it if needed.

    Clusters that declare none admit every campaign. Ray releases the unit of a killed process.
    """
    limit = int(ray.cluster_resources().get(DRIVER, 0))
    if not limit:
        yield
        return
    group = placement_group([{DRIVER: 1}], name="campaign")
    try:
        began, timeout = time.monotonic(), FIRST_NOTICE_S
        while not group.wait(timeout):
            waited = time.monotonic() - began
            running = limit - int(ray.available_resources().get(DRIVER, 0))
            notify(f"{running} of {limit} campaigns are running; waiting for {waited:.0f} s")
            timeout = NOTICE_S
        yield
    finally:
        remove_placement_group(group)
