"""The masks of the phantom: the class of every sample, for each mask scheme.

Classes follow from the findings and the geometry alone, never from the image.
"""

import numpy as np
from jaxtyping import Bool, UInt8

from lus_ray.data.masks import convert_masks
from lus_ray.data.phantom.anatomy import SceneState
from lus_ray.data.phantom.findings import SMALL_MM, WINDOW_MM, LungFindings
from lus_ray.data.phantom.transducer import Classes, Hits, Samples

REGION_MM = 15.0
"""Depth of the band below the pleura that is healthy or unhealthy region in dense masks."""

MARKER_MM = np.array((1.5, 8.0, 11.0, 26.0), np.float32)
"""How far below the pleura a marker of grade 0-3 reaches."""


def label_samples(state: SceneState, findings: LungFindings, scheme: str) -> Classes:
    """Class ids of `MASK_SCHEMES[scheme]`; beams in the shadow of a rib are background."""
    below = state.scene.depth - state.lung_surface(findings)
    if scheme == "markers":
        grades = _beam_grades(state, findings)
        inside = (below > -1.5) & (below < MARKER_MM.take(grades)) & _open_beams(state)
        return np.where(inside, grades + 1, 0).astype(np.uint8)
    b_line = _b_line_pixels(state, findings, below)
    if scheme == "bline":
        return b_line.astype(np.uint8)
    sick = _beam_grades(state, findings) > 0
    open_ = _open_beams(state)
    # At least most of a pixel, so that the line has no holes.
    half = max(findings.thickness_mm / 2 + 0.3, 0.9 * state.scene.probe.mm_per_pixel)
    pleura = (np.abs(below) <= half) & open_
    region = (below > 0) & (below < REGION_MM) & open_
    a_line = _a_line_pixels(state, findings) & ~b_line
    classes = np.zeros(below.shape, np.uint8)
    classes[region & ~sick] = 5
    classes[region & sick] = 6
    classes[a_line] = 1
    classes[b_line] = 2
    thick = sick | (findings.thickness_mm > 3.5)
    classes[pleura & ~thick] = 3
    classes[pleura & thick] = 4
    return classes if scheme == "dense" else convert_masks(classes, "dense", "sparse")


def _beam_grades(state: SceneState, findings: LungFindings) -> UInt8[np.ndarray, "B"]:
    grades = np.zeros(state.x.shape, np.uint8)
    for b_line in findings.b_lines:
        grades[_hit_beams(state, b_line.x_mm, 1.2 * b_line.width_mm)] = 1
    for spots, grade in ((findings.indents, 1), (findings.breaks, 2), (findings.consolidations, 2)):
        for spot in spots:
            hit = _hit_beams(state, spot.x_mm, spot.size_mm)
            large = grade == 2 and spots is findings.consolidations and spot.size_mm > SMALL_MM
            grades[hit] = np.maximum(grades[hit], 3 if large else grade)
    if findings.white > 0:
        grades[np.abs(state.x) < findings.white * WINDOW_MM / 2] = 3
    return grades


def _b_line_pixels(state: SceneState, findings: LungFindings, below: Samples) -> Hits:
    deep = below - 4.0 * findings.sub_pleural
    reach_mm = np.zeros_like(state.x)
    room = state.range_mm - state.pleura
    for b_line in findings.b_lines:
        hit = _hit_beams(state, b_line.x_mm, 1.2 * b_line.width_mm)
        reach_mm[hit] = np.maximum(reach_mm, b_line.reach * room)[hit]
    if findings.white > 0:
        hit = np.abs(state.x) < findings.white * WINDOW_MM / 2
        reach_mm[hit] = room[hit]
    lines = (deep > 0) & (deep < reach_mm) & _unshadowed(state)
    for spot in findings.consolidations:
        lines &= state.consolidation_distance(findings, spot) > 1
    return lines


def _a_line_pixels(state: SceneState, findings: LungFindings) -> Hits:
    pixels = np.zeros(state.scene.probe.shape, bool)
    for k in range(findings.num_a_lines):
        near = np.abs(state.scene.depth - (k + 2) * state.pleura) < 0.9 + 0.2 * k
        pixels |= near & (state.a_line_width(findings, k) > 0.5)
    return pixels & _unshadowed(state)


def _hit_beams(state: SceneState, x_mm: float, width_mm: float) -> Bool[np.ndarray, "B"]:
    """Beams that meet a finding; none is too narrow to leave a pixel in a mask."""
    least = 1.5 * max(state.scene.beam_mm, state.scene.probe.mm_per_pixel)
    return np.abs(state.x - x_mm) <= max(width_mm, least) / 2


def _open_beams(state: SceneState) -> Bool[np.ndarray, "B"]:
    return state.scene.in_window & _unshadowed(state)


def _unshadowed(state: SceneState) -> Bool[np.ndarray, "B"]:
    free = state.scene.contact > 0.5
    for centre, half, _ in state.scene.ribs:
        free &= np.abs(state.scene.x - centre) > half
    return free
