"""The masks of the phantom: the class of every sample of a moment, for each scheme of masks.

Classes follow from the signs and the places of the `Moment` alone, never from the picture.
"""

import numpy as np
from jaxtyping import Bool, UInt8

from lus_ray.data.masks import to_sparse
from lus_ray.data.phantom.anatomy import Moment
from lus_ray.data.phantom.findings import SMALL_MM, WINDOW_MM, Signs
from lus_ray.data.phantom.transducer import Classes, Hits, Samples

REGION_MM = 15.0
"""Depth of the band below the pleura that dense masks call healthy or unhealthy region."""

MARKER_MM = np.array((1.5, 8.0, 11.0, 26.0), np.float32)
"""How far below the pleura a marker of grade 0-3 reaches."""


def labels(moment: Moment, signs: Signs, scheme: str) -> Classes:
    """Class ids of `MASK_SCHEMES[scheme]`; beams in the shadow of a rib are background."""
    below = moment.scene.depth - moment.surface(signs)
    if scheme == "markers":
        return _markers(moment, signs, below)
    b_line = _b_line_pixels(moment, signs, below)
    if scheme == "bline":
        return b_line.astype(np.uint8)
    sick = _beam_grades(moment, signs) > 0
    open_ = _open_beams(moment)
    pleura = (np.abs(below) <= _half_thickness(moment, signs)) & open_
    region = (below > 0) & (below < REGION_MM) & open_
    a_line = _a_line_pixels(moment, signs) & ~b_line
    classes = np.zeros(below.shape, np.uint8)
    classes[region & ~sick] = 5
    classes[region & sick] = 6
    classes[a_line] = 1
    classes[b_line] = 2
    thick = sick | (signs.thickness_mm > 3.5)
    classes[pleura & ~thick] = 3
    classes[pleura & thick] = 4
    return classes if scheme == "dense" else to_sparse(classes)


def _markers(moment: Moment, signs: Signs, below: Samples) -> Classes:
    grades = _beam_grades(moment, signs)
    lower = MARKER_MM.take(grades)
    inside = (below > -1.5) & (below < lower) & _open_beams(moment)
    return np.where(inside, grades + 1, 0).astype(np.uint8)


def _beam_grades(moment: Moment, signs: Signs) -> UInt8[np.ndarray, "B"]:
    """Grade 0-3 of the signs that each beam meets."""
    grades = np.zeros(moment.x.shape, np.uint8)
    for b_line in signs.b_lines:
        grades[_meet(moment, b_line.x_mm, 1.2 * b_line.width_mm)] = 1
    for spots, grade in ((signs.indents, 1), (signs.breaks, 2), (signs.consolidations, 2)):
        for spot in spots:
            hit = _meet(moment, spot.x_mm, spot.size_mm)
            large = grade == 2 and spots is signs.consolidations and spot.size_mm > SMALL_MM
            grades[hit] = np.maximum(grades[hit], 3 if large else grade)
    if signs.white > 0:
        grades[np.abs(moment.x) < signs.white * WINDOW_MM / 2] = 3
    return grades


def _b_line_pixels(moment: Moment, signs: Signs, below: Samples) -> Hits:
    deep = below - 4.0 * signs.sub_pleural
    reach_mm = np.zeros_like(moment.x)
    room = moment.range_mm - moment.pleura
    for b_line in signs.b_lines:
        hit = _meet(moment, b_line.x_mm, 1.2 * b_line.width_mm)
        reach_mm[hit] = np.maximum(reach_mm, b_line.reach * room)[hit]
    if signs.white > 0:
        hit = np.abs(moment.x) < signs.white * WINDOW_MM / 2
        reach_mm[hit] = room[hit]
    lines = (deep > 0) & (deep < reach_mm) & _unshadowed(moment)
    for spot in signs.consolidations:
        lines &= moment.away(signs, spot) > 1
    return lines


def _a_line_pixels(moment: Moment, signs: Signs) -> Hits:
    found = np.zeros(moment.scene.probe.shape, bool)
    for k in range(signs.num_a_lines):
        near = np.abs(moment.scene.depth - (k + 2) * moment.pleura) < 0.9 + 0.2 * k
        found |= near & (moment.a_line_width(signs, k) > 0.5)
    return found & _unshadowed(moment)


def _meet(moment: Moment, x_mm: float, width_mm: float) -> Bool[np.ndarray, "B"]:
    """Beams that meet a sign; a sign is never too narrow to leave a pixel in a mask."""
    least = 1.5 * max(moment.scene.beam_mm, moment.scene.probe.mm_per_pixel)
    return np.abs(moment.x - x_mm) <= max(width_mm, least) / 2


def _half_thickness(moment: Moment, signs: Signs) -> float:
    """Half of the pleural line in mm, at least most of a pixel so that it has no holes."""
    return max(signs.thickness_mm / 2 + 0.3, 0.9 * moment.scene.probe.mm_per_pixel)


def _open_beams(moment: Moment) -> Bool[np.ndarray, "B"]:
    return moment.scene.in_window & _unshadowed(moment)


def _unshadowed(moment: Moment) -> Bool[np.ndarray, "B"]:
    free = moment.scene.contact > 0.5
    for centre, half, _ in moment.scene.ribs:
        free &= np.abs(moment.scene.x - centre) > half
    return free
