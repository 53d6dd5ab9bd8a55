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


def test_the_lung_surface_lies_at_the_pleura_below_an_effusion_and_in_an_indent():
    state = make_state()
    assert np.median(state.pleura) == pytest.approx(PATIENT.pleura_mm, abs=2)
    depth = [
        state.lung_surface(replace(HEALTHY, **change)) - state.pleura
        for change in ({}, {"effusion_mm": 8.0}, {"indents": (Spot(3, 5),)})
    ]
    assert depth[0] == pytest.approx(0)
    assert depth[1] == pytest.approx(8, abs=1e-5)
    assert state.x[depth[2].argmax()] == pytest.approx(3, abs=0.3)
    assert depth[2].max() == pytest.approx(2, abs=0.1)
    assert depth[2][np.abs(state.x - 3) > 3] == pytest.approx(0, abs=1e-5)


def test_deeper_a_lines_are_narrower():
    state = make_state()
    widths = [state.a_line_width(HEALTHY, k).sum() * state.scene.beam_mm for k in (0, 1, 2)]
    assert widths == pytest.approx([12, 10.6, 9.3], rel=0.05)


def test_ribs_lie_beside_the_window():
    ribs = [rib for seed in range(8) for rib in make_state(seed=seed).scene.ribs]
    assert ribs
    assert all(abs(middle) - half > WINDOW_MM / 2 for middle, half, _ in ribs)


def test_a_consolidation_is_neither_notched_nor_hidden_by_an_indent():
    state, spot = make_state(), Spot(0, 10)
    notched, smooth = (
        state.consolidation_distance(replace(HEALTHY, indents=indents), spot)
        for indents in ((Spot(3, 4),), ())
    )
    assert notched == pytest.approx(smooth, abs=1e-4)
    deep, small = replace(HEALTHY, indents=(Spot(0, 9),)), Spot(0, 2)
    below = state.scene.depth - state.lung_surface(deep)
    solid = (state.consolidation_distance(deep, small) < 1) & (below > 0)
    assert solid[:, np.abs(state.x).argmin()].sum() * state.scene.probe.mm_per_pixel > 0.8
