"""Worlds of controls: their clips say what is true in them."""

import numpy as np
import pytest

from lus_ray.data.ingest import control
from lus_ray.errors import SourceError


def make_row(domain: str, **options):
    made = control.clips(world="appearance", patients=2, frames=2, size=32, **options)
    return made.make_row(f"control/{domain}001")


def test_machines_differ_and_outlines_do_not():
    first, second = (make_row("B", pair=pair) for pair in ("machine", "outline"))
    assert first["frames"] != second["frames"]
    whole, lowest = (np.frombuffer(b"".join(row["masks"]), np.uint8) for row in (first, second))
    assert 0 < lowest.sum() < 0.6 * whole.sum()
    assert np.all(whole[lowest > 0])
    assert make_row("A", pair="machine") == make_row("A", pair="outline")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"world": "appearence"}, "no --world 'appearence'; did you mean 'appearance'"),
        ({"world": "appearance", "pair": "x"}, "use one of machine, outline"),
        ({"world": "appearance", "curve": "x"}, "has no option --curve"),
    ],
)
def test_unknown_worlds_and_options_are_refused(options, message):
    with pytest.raises(SourceError, match=message):
        control.clips(**options)
