from dataclasses import replace

import numpy as np
import pytest

from lus_ray.data.phantom.findings import Spot
from lus_ray.data.phantom.masks import label_samples
from tests.data.phantom.scenes import HEALTHY, ONE_LINE, make_state


def test_findings_glide_with_the_breath():
    out, rest = (label_samples(make_state(breath=b), ONE_LINE, "bline") for b in (1.0, -1.0))
    columns = [np.nonzero(mask.any(axis=0))[0].mean() for mask in (out, rest)]
    assert (columns[0] - columns[1]) * make_state().scene.beam_mm == pytest.approx(4, abs=0.7)


def test_a_consolidation_is_unhealthy_region_not_b_line():
    findings = replace(HEALTHY, white=0.9, consolidations=(Spot(0, 12),))
    state = make_state()
    middle = np.abs(state.x).argmin()
    row = np.abs(state.scene.probe.depth_mm - state.pleura[middle] - 4).argmin()
    assert label_samples(state, findings, "dense")[row, middle] == 6
    assert label_samples(state, replace(findings, consolidations=()), "dense")[row, middle] == 2
