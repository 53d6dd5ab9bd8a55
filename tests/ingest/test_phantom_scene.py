from dataclasses import replace

import numpy as np
import pytest

from lus_ray.ingest.phantom_patient import BLine, Patient, Signs, Spot
from lus_ray.ingest.phantom_probe import linear
from lus_ray.ingest.phantom_scene import Look, Scene

PATIENT = Patient(
    index=0,
    disease="healthy",
    burden=0.1,
    sf_ratio=450,
    probe="linear",
    gain_db=0,
    fat_mm=5,
    pleura_mm=12,
    height_mm=48,
    breaths_per_s=0.3,
)
HEALTHY = Signs(
    a_level=0,
    num_a_lines=0,
    a_width_mm=12,
    b_lines=(),
    white=0.0,
    sub_pleural=False,
    thickness_mm=0.7,
    indents=(),
    breaks=(),
    consolidations=(),
    effusion_mm=0.0,
)
ONE_LINE = replace(HEALTHY, b_lines=(BLine(x_mm=3, width_mm=2, strength=1, reach=1),))


def moment(contrast=1.0, breath=0.0, seed=0):
    probe = linear(160, height_mm=PATIENT.height_mm, aperture_mm=48)
    look = Look(contrast=contrast, haze=1.0, streaks=0.1)
    return Scene(PATIENT, probe, look, np.random.default_rng(seed)).at(breath, glide_mm=2)


def gain(signs, *, contrast=1.0):
    """Echoes with the signs over echoes without them, per sample."""
    here = moment(contrast)
    return here.echo(signs) / here.echo(HEALTHY), here


def test_a_lines_lie_at_the_multiples_of_the_pleural_depth():
    signs = replace(HEALTHY, a_level=2, num_a_lines=2)
    more, here = gain(signs)
    middle = np.abs(here.x).argmin()
    depth, pleura = here.scene.probe.depth_mm, here.pleura[middle]
    for k in (2, 3):
        around = np.abs(depth - k * pleura) < 4
        assert depth[around][more[around, middle].argmax()] == pytest.approx(k * pleura, abs=0.7)


def test_a_b_line_starts_at_the_pleura_and_reaches_the_bottom():
    more, here = gain(ONE_LINE)
    beam = np.abs(here.x - 3).argmin()
    below = here.scene.probe.depth_mm - here.pleura[beam]
    assert more[below < -1, beam] == pytest.approx(1)
    assert more[below > 3, beam].min() > 1.3


def test_contrast_makes_signs_brighter():
    beam = np.abs(moment().x - 3).argmin()
    faint, clear = (gain(ONE_LINE, contrast=c)[0][120, beam] for c in (0.5, 1.5))
    assert clear > 1.5 * faint


def test_signs_glide_with_the_breath_and_the_wall_does_not():
    out, home = (moment(breath=b).labels(ONE_LINE, "bline") for b in (1.0, -1.0))
    columns = [np.nonzero(mask.any(axis=0))[0].mean() for mask in (out, home)]
    assert (columns[0] - columns[1]) * moment().scene.beam_mm == pytest.approx(4, abs=0.7)


def test_an_effusion_is_dark_between_the_two_pleurae():
    more, here = gain(replace(HEALTHY, effusion_mm=8.0))
    middle = np.abs(here.x).argmin()
    depth = here.scene.probe.depth_mm - here.pleura[middle]
    assert more[(depth > 2) & (depth < 6), middle].max() < 0.6


def test_a_break_interrupts_the_pleural_line():
    more, here = gain(replace(HEALTHY, breaks=(Spot(0, 4),)))
    middle = np.abs(here.x).argmin()
    row = np.abs(here.scene.probe.depth_mm - here.pleura[middle]).argmin()
    assert more[row, middle] < 0.6
    assert more[row, np.abs(here.x - 8).argmin()] == pytest.approx(1)


def test_a_consolidation_is_unhealthy_region_not_b_line():
    signs = replace(HEALTHY, white=0.9, consolidations=(Spot(0, 12),))
    here = moment()
    middle = np.abs(here.x).argmin()
    row = np.abs(here.scene.probe.depth_mm - here.pleura[middle] - 4).argmin()
    assert here.labels(signs, "dense")[row, middle] == 6
    assert here.labels(replace(signs, consolidations=()), "dense")[row, middle] == 2


def test_a_rib_darkens_what_lies_below_it():
    shadowed = [here for here in (moment(seed=s) for s in range(8)) if here.scene.ribs]
    assert len(shadowed) > 2
    for here in shadowed:
        centre = here.scene.ribs[0][0]
        deep = here.echo(HEALTHY)[120]
        assert deep[np.abs(here.x - centre).argmin()] < 0.7 * deep[np.abs(here.x).argmin()]
