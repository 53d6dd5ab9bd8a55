import numpy as np
import pytest

from lus_ray.data.phantom.transducer import Speckle, make_convex_probe, make_linear_probe

FAN = {"height_mm": 100.0, "radius_mm": 50.0, "half_angle": 0.6, "cap_mm": 2.0}


def test_a_level_line_in_a_rectangle_is_a_row_of_pixels():
    probe = make_linear_probe(100, height_mm=50.0, aperture_mm=40.0)
    echo = np.where(np.abs(probe.depth_mm[:, None] - 25) < 0.3, 1.0, 1e-6) + 0 * probe.angle
    image = probe.render_image(echo.astype(np.float32))
    assert abs(image.mean(axis=1).argmax() - 49.5) <= 1
    assert image[:, :9].max() == 0
    assert image.mean(axis=0)[12:88].min() > 0


def test_a_beam_of_a_fan_leans_outward():
    probe = make_convex_probe(200, **FAN)
    echo = np.full(probe.shape, 1e-6, np.float32)
    echo[:, 120:123] = 1
    image = probe.render_image(echo).astype(float)
    columns = [(image[row] * np.arange(200)).sum() / image[row].sum() for row in (30, 90, 150)]
    assert columns[0] < columns[1] < columns[2]
    slopes = np.diff(columns) / 60
    assert slopes == pytest.approx(np.tan(probe.angle[121]), abs=0.05)


def test_a_fan_has_its_face_above_and_its_arc_below_and_labels_keep_their_place():
    probe = make_convex_probe(200, **FAN)
    rows = np.nonzero(probe.inside[:, 100])[0]
    assert rows[0] * probe.mm_per_pixel == pytest.approx(2.0, abs=0.6)
    assert 95 < rows[-1] * probe.mm_per_pixel < 100
    assert not probe.inside[0, 0]
    classes = np.zeros(probe.shape, np.uint8)
    classes[probe.depth_mm > 50] = 5
    mask = probe.render_labels(classes)
    assert set(np.unique(mask)) == {0, 5}
    assert (mask[90, 100], mask[120, 100]) == (0, 5)


def test_speckle_is_steady_in_part_and_glides_with_the_lung():
    rng = np.random.default_rng(0)
    speckle = Speckle((80, 96), grain=(0.6, 1.5), steady=0.8, rng=rng)
    lung = np.repeat(np.arange(80)[:, None] >= 40, 96, axis=1)
    state, there = speckle.sample_frame(lung, 0), speckle.sample_frame(lung, 4)
    wall = np.corrcoef(state[:40].ravel(), there[:40].ravel())[0, 1]
    still = np.corrcoef(state[40:].ravel(), there[40:].ravel())[0, 1]
    moved = np.corrcoef(state[40:, :-4].ravel(), there[40:, 4:].ravel())[0, 1]
    assert 0.4 < wall < 0.95
    assert moved > 0.4 > still
