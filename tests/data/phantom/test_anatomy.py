from dataclasses import replace

import numpy as np
import pytest

from lus_ray.data.phantom.findings import WINDOW_MM, Spot
from tests.data.phantom.scenes import HEALTHY, PATIENT, make_state


def test_at_full_breath_the_pleura_sinks_and_the_lung_glides():
    out, rest = make_state(breath=1.0), make_state(breath=0.0)
    assert out.pleura - rest.pleura == pytest.approx(0.8, abs=1e-5)
    assert rest.x - out.x == pytest.approx(2, abs=1e-5)
    assert out.scene.wall == pytest.approx(rest.scene.wall)


def test_the_lung_surface_lies_at_the_pleura_and_below_an_effusion():
    state = make_state()
    assert state.lung_surface(HEALTHY) == pytest.approx(state.pleura)
    wet = state.lung_surface(replace(HEALTHY, effusion_mm=8.0))
    assert wet - state.pleura == pytest.approx(8, abs=1e-5)
    assert np.median(state.pleura) == pytest.approx(PATIENT.pleura_mm, abs=2)


def test_an_indent_dips_only_at_its_position():
    state = make_state()
    dip = state.lung_surface(replace(HEALTHY, indents=(Spot(3, 5),))) - state.pleura
    assert state.x[dip.argmax()] == pytest.approx(3, abs=0.3)
    assert dip.max() == pytest.approx(2, abs=0.1)
    assert dip[np.abs(state.x - 3) > 3] == pytest.approx(0, abs=1e-5)


def test_deeper_a_lines_are_narrower():
    state = make_state()
    widths = [state.a_line_width(HEALTHY, k).sum() * state.scene.beam_mm for k in (0, 1, 2)]
    assert widths == pytest.approx([12, 10.6, 9.3], rel=0.05)


def test_ribs_lie_beside_the_window():
    ribs = [rib for seed in range(8) for rib in make_state(seed=seed).scene.ribs]
    assert ribs
    assert all(abs(middle) - half > WINDOW_MM / 2 for middle, half, _ in ribs)


def test_an_indent_beside_the_middle_of_a_consolidation_does_not_notch_it():
    state, spot = make_state(), Spot(0, 10)
    beside = replace(HEALTHY, consolidations=(spot,), indents=(Spot(3, 4),))
    whole = replace(beside, indents=())
    assert state.consolidation_distance(beside, spot) == pytest.approx(
        state.consolidation_distance(whole, spot), abs=1e-4
    )


def test_a_small_consolidation_is_visible_below_a_deep_indent():
    state, spot = make_state(), Spot(0, 2)
    findings = replace(HEALTHY, consolidations=(spot,), indents=(Spot(0, 9),))
    below = state.scene.depth - state.lung_surface(findings)
    solid = (state.consolidation_distance(findings, spot) < 1) & (below > 0)
    assert solid[:, np.abs(state.x).argmin()].sum() * state.scene.probe.mm_per_pixel > 0.8
