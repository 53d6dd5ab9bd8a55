from dataclasses import replace

import numpy as np
import pytest

from lus_ray.data.phantom.echoes import render_echoes
from lus_ray.data.phantom.findings import Spot
from tests.data.phantom.scenes import HEALTHY, ONE_LINE, make_state


def gain(findings, *, contrast=1.0):
    """Echoes with the findings over echoes without them, per sample."""
    state = make_state(contrast)
    return render_echoes(state, findings) / render_echoes(state, HEALTHY), state


def test_a_lines_lie_at_the_multiples_of_the_pleural_depth():
    findings = replace(HEALTHY, a_level=2, num_a_lines=2)
    more, state = gain(findings)
    middle = np.abs(state.x).argmin()
    depth, pleura = state.scene.probe.depth_mm, state.pleura[middle]
    for k in (2, 3):
        around = np.abs(depth - k * pleura) < 4
        assert depth[around][more[around, middle].argmax()] == pytest.approx(k * pleura, abs=0.7)


def test_a_b_line_reaches_from_pleura_to_bottom_and_grows_with_the_contrast():
    more, state = gain(ONE_LINE)
    beam = np.abs(state.x - 3).argmin()
    below = state.scene.probe.depth_mm - state.pleura[beam]
    assert more[below < -1, beam] == pytest.approx(1)
    assert more[below > 3, beam].min() > 1.3
    faint, clear = (gain(ONE_LINE, contrast=c)[0][120, beam] for c in (0.5, 1.5))
    assert clear > 1.5 * faint


def test_an_effusion_is_dark_between_the_two_pleurae():
    more, state = gain(replace(HEALTHY, effusion_mm=8.0))
    middle = np.abs(state.x).argmin()
    depth = state.scene.probe.depth_mm - state.pleura[middle]
    assert more[(depth > 2) & (depth < 6), middle].max() < 0.6


def test_a_break_interrupts_the_pleural_line():
    more, state = gain(replace(HEALTHY, breaks=(Spot(0, 4),)))
    middle = np.abs(state.x).argmin()
    row = np.abs(state.scene.probe.depth_mm - state.pleura[middle]).argmin()
    assert more[row, middle] < 0.6
    assert more[row, np.abs(state.x - 8).argmin()] == pytest.approx(1)


def test_a_rib_darkens_what_lies_below_it():
    shadowed = [state for seed in range(8) if (state := make_state(seed=seed)).scene.ribs]
    assert len(shadowed) > 2
    for state in shadowed:
        centre = state.scene.ribs[0][0]
        deep = render_echoes(state, HEALTHY)[120]
        assert deep[np.abs(state.x - centre).argmin()] < 0.7 * deep[np.abs(state.x).argmin()]
