"""How often an unfinished training writes its state; apart, as it is checked before torch loads."""

import math
import os

from lus_ray.errors import InputError

VARIABLE = "LUS_STATE_SECONDS"


def read_state_interval() -> float:
    """Seconds between two writes at least; more where writing would take over 2 % of the time.

    LUS_STATE_SECONDS can lower it for machines that may be taken away at any moment; 0 writes after
    every step and epoch. Raises InputError where it is not a number of seconds.
    """
    text = os.environ.get(VARIABLE) or "60"
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise InputError(f"{VARIABLE}={text}: not a number of seconds; give one, such as 60")
    return seconds
