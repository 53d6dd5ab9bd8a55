"""Worlds of controls: their clips say what is true in them."""

import numpy as np
import pytest

from lus_ray.data.ingest import control
from lus_ray.data.phantom.worlds.areas import CLASS
from lus_ray.errors import SourceError


def make_row(domain: str, **options):
    made = control.clips(world="appearance", patients=2, frames=2, size=32, **options)
    return made.make_row(f"control/{domain}001")


def test_machines_differ_and_masks_do_not():
    first, second = (make_row("B", pair=pair) for pair in ("machine", "masks"))
    assert first["frames"] != second["frames"]
    whole, lowest = (np.frombuffer(b"".join(row["masks"]), np.uint8) for row in (first, second))
    assert 0 < lowest.sum() < 0.6 * whole.sum()
    assert np.all(whole[lowest > 0])
    assert make_row("A", pair="machine") == make_row("A", pair="masks")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"world": "appearence"}, "no --world 'appearence'; did you mean 'appearance'"),
        ({"world": "appearance", "pair": "x"}, "use one of machine, masks"),
        ({"world": "appearance", "curve": "x"}, "has no option --curve; remove it"),
        ({"world": "appearance", "pairs": "x"}, "no option --pairs; did you mean '--pair'?"),
        ({"world": "appearance", "patients": "x"}, "--patients is 'x'; give a whole number"),
        ({}, "control needs --world NAME; the names are appearance, "),
    ],
)
def test_unknown_worlds_and_options_are_refused(options, message):
    with pytest.raises(SourceError, match=message):
        control.clips(**options)


def test_the_area_of_unhealthy_lung_tells_the_disease_and_not_in_the_twin():
    def shares(related):
        rows = list(control.clips(world="areas", patients=30, related=related))
        return [
            (np.mean(row["masks"] == CLASS["unhealthy region"]), row["severity"]) for row in rows
        ]

    low, middle, high = ([s for s, kind in shares(True) if kind == k] for k in range(3))
    assert max(low) < min(middle)
    assert max(middle) < min(high)
    assert max(s for s, kind in shares(False) if kind == 0) > min(middle)


def test_clutter_lies_over_healthy_lung_and_is_no_b_line():
    for row in control.clips(world="streaks", patients=6):
        b_line, healthy = (row["masks"] == CLASS[name] for name in ("B-line", "healthy region"))
        assert b_line.any()
        columns = row["frames"][0, 12:].astype(float).mean(axis=0)
        assert columns[healthy[0].any(axis=0)].max() > 1.3 * np.median(columns)
    rows = [
        control.clips(world="streaks", patients=1, shuffled=s).make_row("control/000")
        for s in (True, False)
    ]
    assert rows[0]["frames"] == rows[1]["frames"]
    assert rows[0]["masks"] != rows[1]["masks"]
