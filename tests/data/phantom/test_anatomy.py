from dataclasses import replace

import numpy as np
import pytest

from lus_ray.data.phantom.findings import WINDOW_MM, Spot
from tests.data.phantom.scenes import HEALTHY, PATIENT, make_state


def test_at_full_breath_the_pleura_sinks_and_the_lung_glides():
    out, home = make_state(breath=1.0), make_state(breath=0.0)
    assert out.pleura - home.pleura == pytest.approx(0.8, abs=1e-5)
    assert home.x - out.x == pytest.approx(2, abs=1e-5)
    assert out.scene.wall == pytest.approx(home.scene.wall)


def test_the_lung_surface_lies_at_the_pleura_and_below_an_effusion():
    here = make_state()
    assert here.lung_surface(HEALTHY) == pytest.approx(here.pleura)
    wet = here.lung_surface(replace(HEALTHY, effusion_mm=8.0))
    assert wet - here.pleura == pytest.approx(8, abs=1e-5)
    assert np.median(here.pleura) == pytest.approx(PATIENT.pleura_mm, abs=2)


def test_an_indent_dips_at_its_place_and_nowhere_else():
    here = make_state()
    dip = here.lung_surface(replace(HEALTHY, indents=(Spot(3, 5),))) - here.pleura
    assert here.x[dip.argmax()] == pytest.approx(3, abs=0.3)
    assert dip.max() == pytest.approx(2, abs=0.1)
    assert dip[np.abs(here.x - 3) > 3] == pytest.approx(0, abs=1e-5)


def test_deeper_a_lines_are_narrower():
    here = make_state()
    widths = [here.a_line_width(HEALTHY, k).sum() * here.scene.beam_mm for k in (0, 1, 2)]
    assert widths == pytest.approx([12, 10.6, 9.3], rel=0.05)


def test_ribs_lie_beside_the_window():
    ribs = [rib for seed in range(8) for rib in make_state(seed=seed).scene.ribs]
    assert ribs
    assert all(abs(middle) - half > WINDOW_MM / 2 for middle, half, _ in ribs)


def test_an_indent_beside_the_middle_of_a_consolidation_does_not_notch_it():
    here, spot = make_state(), Spot(0, 10)
    beside = replace(HEALTHY, consolidations=(spot,), indents=(Spot(3, 4),))
    whole = replace(beside, indents=())
    assert here.consolidation_distance(beside, spot) == pytest.approx(
        here.consolidation_distance(whole, spot), abs=1e-4
    )


def test_the_middle_of_a_small_consolidation_shows_below_a_deep_indent():
    here, spot = make_state(), Spot(0, 2)
    findings = replace(HEALTHY, consolidations=(spot,), indents=(Spot(0, 9),))
    below = here.scene.depth - here.lung_surface(findings)
    solid = (here.consolidation_distance(findings, spot) < 1) & (below > 0)
    assert solid[:, np.abs(here.x).argmin()].sum() * here.scene.probe.mm_per_pixel > 0.8
