from dataclasses import replace

import numpy as np
import pytest

from lus_ray.data.phantom.findings import Spot
from lus_ray.data.phantom.lung import Lung
from lus_ray.data.phantom.raters import jitter_segmentation, rater_confusion, sample_ratings
from tests.data.phantom.scenes import B_LINE, HEALTHY


@pytest.mark.parametrize("domain", ["A", "B"])
def test_raters_err_as_stated(domain):
    rng = np.random.default_rng(1)
    stated = rater_confusion(domain, 0.5)
    assert stated.sum(axis=1) == pytest.approx(1)
    for grade in range(4):
        ratings = [sample_ratings(grade, domain, 0.5, rng=rng) for _ in range(500)]
        share = np.bincount(np.ravel(ratings), minlength=4) / 2500
        assert share == pytest.approx(stated[grade], abs=0.04)


def test_raters_agree_more_in_domain_a_and_on_easy_clips():
    agree = [np.trace(rater_confusion(*case)) / 4 for case in (("A", 0.0), ("A", 0.5), ("B", 0.5))]
    assert agree == pytest.approx([0.94, 0.76, 0.64])


def test_jitter_moves_only_b_lines():
    findings = replace(HEALTHY, b_lines=(B_LINE,) * 200, indents=(Spot(0, 3),))
    lung = Lung(HEALTHY, findings, np.ones(3))
    assert jitter_segmentation(lung, 0.0, np.random.default_rng(0)) == lung
    moved = jitter_segmentation(lung, 0.8, np.random.default_rng(0)).worst
    assert np.std([line.x_mm for line in moved.b_lines]) == pytest.approx(0.8, rel=0.2)
    assert replace(moved, b_lines=findings.b_lines) == findings
