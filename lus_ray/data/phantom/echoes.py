"""The echoes of a phantom scene with the findings of a lung.

Below the pleural line a lung shows artefacts and no anatomy: mirrored wall, A-lines at the
multiples of the pleural depth, vertical artefacts. Only consolidation and effusion are real.
Arrays are D depth samples by B beams; echoes are amplitudes, 1 saturates.
"""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float32

from lus_ray.data.phantom.anatomy import SceneState, as_float32, bump
from lus_ray.data.phantom.findings import WINDOW_MM, BLine, LungFindings, Spot
from lus_ray.data.phantom.transducer import Beams, Samples


def blend_echoes(
    state: SceneState, rest: LungFindings, worst: LungFindings, share: float
) -> Samples:
    """Echoes between two sets of findings; `share` 1 is the worst alone."""
    if share in (0.0, 1.0):
        return render_echoes(state, worst if share else rest)
    mild, severe = render_echoes(state, rest), render_echoes(state, worst)
    return np.float32(1 - share) * mild + np.float32(share) * severe


def render_echoes(state: SceneState, findings: LungFindings) -> Samples:
    """Amplitudes before speckle."""
    scene, appearance = state.scene, state.scene.appearance
    below = scene.depth - state.lung_surface(findings)
    echo = _wall_and_mirrors(state, findings)
    lines, cover = _vertical_artefacts(state, findings, below)
    haze = as_float32(0.0042 * appearance.haze * scene.streaks) * decay(below, 0.9 * state.range_mm)
    lung = (echo + haze) * (1 - cover) + _a_lines(state, findings, 1 - cover) + lines
    echo = np.where(below > 0, lung, echo)
    if findings.effusion_mm > 0:
        outer = scene.depth - state.parietal_depth(findings)
        fluid = (outer > 0) & (below < 0)
        echo = np.where(fluid, np.float32(0.0012), echo)
        echo += 0.03 * scene.facing * line_profile(outer, 0.5)
    for spot in findings.consolidations:
        echo = _consolidation(state, echo, findings, spot)
    echo *= scene.blotches * decay(below, scene.loss_mm)
    echo += _pleural_line(state, findings, below)
    noise = as_float32(0.0006 * appearance.haze * (scene.depth / state.range_mm) ** 2)
    return _shadows(state, echo) + noise


def _wall_and_mirrors(state: SceneState, findings: LungFindings) -> Samples:
    """The wall, and below it its copies, each fainter, that give a lung its cross-grain."""
    scene = state.scene
    turns = scene.depth / state.pleura
    copy = np.where(scene.depth < state.parietal_depth(findings), 0, turns.astype(np.int32))
    row = (np.minimum(turns - copy, 1) * (len(scene.wall) - 1)).astype(np.int32)
    tissue = scene.wall.ravel().take(row * scene.wall.shape[1] + np.arange(scene.wall.shape[1]))
    mirror = (0.12, 0.25, 0.4)[findings.a_level] * scene.appearance.haze
    faintness = as_float32([1.0, mirror, 0.6 * mirror, 0.4 * mirror, 0.25 * mirror])
    return tissue * faintness.take(np.minimum(copy, 4)) * np.where(copy > 0, scene.facing, 1)


def _a_lines(state: SceneState, findings: LungFindings, open_: Samples) -> Samples:
    scene = state.scene
    strength = (0.0, 0.013, 0.032)[findings.a_level] * scene.appearance.contrast
    echo = np.zeros(scene.probe.shape, np.float32)
    for k in range(findings.num_a_lines):
        bell = line_profile(scene.depth - (k + 2) * state.pleura, 0.55 + 0.2 * k)
        width = state.a_line_width(findings, k)
        echo += as_float32(strength * 0.66**k * width * scene.uneven) * bell
    return echo * open_


def _vertical_artefacts(
    state: SceneState, findings: LungFindings, below: Samples
) -> tuple[Samples, Samples]:
    """B-lines, white lung and the short tails of indents, and how far (0-1) they hide the rest."""
    contrast, far = state.scene.appearance.contrast, state.range_mm
    deep = below - 4.0 * findings.sub_pleural
    echo, cover = np.zeros_like(below), np.zeros_like(below)
    if findings.b_lines:
        beams, reach = _sum_b_lines(state.x, findings.b_lines)
        beams = np.float32(contrast) * beams
        ends = ramp((reach * (far - state.pleura) - deep) / (0.1 * far) + 0.5)
        shape = decay(deep, 2.5 * far) * ends * ramp(deep + 0.5)
        echo += 0.0120 * beams * shape * (1 + 0.2 * np.sin(np.float32(2.4) * deep))
        cover = np.minimum(0.85 * beams, 0.85) * shape
    if findings.white > 0:
        white = ramp((findings.white * WINDOW_MM / 2 - np.abs(state.x)) / 3 + 0.5)
        shape = white * decay(deep, 2.0 * far) * ramp(deep + 0.5)
        echo = np.maximum(echo, 0.0130 * contrast * shape)
        cover = np.maximum(cover, 0.9 * white * (deep > 0))
    for spot in (*findings.indents, *findings.breaks):
        echo += 0.012 * contrast * bump(state.x, spot) * decay(below, 9.0) * (below > 0)
    return as_float32(echo), as_float32(cover)


def _consolidation(state: SceneState, echo: Samples, findings: LungFindings, spot: Spot) -> Samples:
    away, appearance = state.consolidation_distance(findings, spot), state.scene.appearance
    below = state.scene.depth - state.lung_surface(findings)
    body = smoothstep((1 - away) * 2.5 + 0.5) * (below > 0)
    border = np.exp(-(((away - 1.1) / 0.14) ** 2)) * (below > 0.3 * spot.size_mm)
    tail = bump(state.x, Spot(spot.x_mm, 1.2 * spot.size_mm)) * (below > 0.5 * spot.size_mm)
    tail = tail * (1 - body) * decay(below - spot.size_mm, 0.35 * state.range_mm)
    hidden = min(0.9, 0.45 + 0.3 * appearance.contrast)
    rim = 0.008 * border * state.scene.uneven**2 + 0.007 * tail
    return as_float32(echo * (1 - hidden * body) + appearance.contrast * rim)


def _pleural_line(state: SceneState, findings: LungFindings, below: Samples) -> Samples:
    scene = state.scene
    whole = np.ones_like(state.x)
    for spot in findings.breaks:
        whole = whole * (1 - 0.92 * np.minimum(1.6 * bump(state.x, spot), 1))
    level = 0.125 * findings.thickness_mm**-0.6 * whole * scene.facing * scene.uneven
    half = 0.45 + 0.4 * findings.thickness_mm
    profile = np.exp(-(np.abs(below / np.float32(half)) ** 3))
    return as_float32(level) * profile * scene.blotches


def _shadows(state: SceneState, echo: Samples) -> Samples:
    scene = state.scene
    echo = echo * scene.contact
    for centre, half, darkness in scene.ribs:
        across = (scene.x - np.float32(centre)) / np.float32(half)
        top = state.pleura - 5 + np.float32(2.5) * across**2
        shade = as_float32(darkness * smoothstep((1.45 - np.abs(across)) / 1.05))
        under = ramp((scene.depth - top) / 9) ** 0.7 * shade
        bright = np.exp(-(across**4)) * scene.facing**0.5 * scene.uneven * scene.contact
        echo = echo * (1 - under) + as_float32(0.02 * bright) * line_profile(scene.depth - top, 0.7)
    return echo


def _sum_b_lines(x: Beams, b_lines: Iterable[BLine]) -> tuple[Beams, Beams]:
    total, reach = np.full(x.shape, 1e-6), np.full(x.shape, 1e-6)
    for b_line in b_lines:
        beam = b_line.strength * np.exp(-0.5 * ((x - b_line.x_mm) / (0.5 * b_line.width_mm)) ** 2)
        total, reach = total + beam, reach + beam * b_line.reach
    return as_float32(total), as_float32(reach / total)


def line_profile(away_mm: Samples, half_mm: float) -> Samples:
    """A bell curve at `away_mm` from the middle of a line."""
    return np.exp(np.float32(-0.5 / half_mm**2) * away_mm**2)


def decay(below_mm: Samples, length_mm: float) -> Samples:
    """Exponential loss with depth, 1 at and above the surface."""
    return np.exp(np.float32(-1 / length_mm) * np.maximum(below_mm, 0))


def ramp(value: Float32[np.ndarray, "*shape"]) -> Float32[np.ndarray, "*shape"]:
    return np.clip(value, 0, 1)


def smoothstep(value: Float32[np.ndarray, "*shape"]) -> Float32[np.ndarray, "*shape"]:
    value = ramp(value)
    return value * value * (3 - 2 * value)
