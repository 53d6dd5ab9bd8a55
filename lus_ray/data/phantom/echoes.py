"""The echoes of the phantom: what is seen of a moment of a scene when a lung shows its signs.

Below the pleural line a lung shows no anatomy but artefacts: mirrored wall, A-lines at the
multiples of the pleural depth, vertical artefacts. Consolidation and effusion are the only
things one sees. Arrays are D depth samples by B beams; echoes are amplitudes, 1 saturates.
"""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float32

from lus_ray.data.phantom.anatomy import Moment, as_float32, bump
from lus_ray.data.phantom.findings import WINDOW_MM, BLine, Signs, Spot
from lus_ray.data.phantom.transducer import Beams, Samples


def echoes_between(moment: Moment, rest: Signs, worst: Signs, share: float) -> Samples:
    """Echoes while one state gives way to the other; `share` 1 is the worst alone."""
    if share in (0.0, 1.0):
        return echoes(moment, worst if share else rest)
    return np.float32(1 - share) * echoes(moment, rest) + np.float32(share) * echoes(moment, worst)


def echoes(moment: Moment, signs: Signs) -> Samples:
    """Amplitude of the echoes before speckle."""
    scene, look = moment.scene, moment.scene.look
    below = scene.depth - moment.surface(signs)
    echo = _wall_and_mirrors(moment, signs)
    lines, cover = _vertical_artefacts(moment, signs, below)
    haze = as_float32(0.0042 * look.haze * scene.streaks) * decay(below, 0.9 * moment.range_mm)
    lung = (echo + haze) * (1 - cover) + _a_lines(moment, signs, 1 - cover) + lines
    echo = np.where(below > 0, lung, echo)
    if signs.effusion_mm > 0:
        outer = scene.depth - moment.wall_end(signs)
        fluid = (outer > 0) & (below < 0)
        echo = np.where(fluid, np.float32(0.0012), echo)
        echo += 0.03 * scene.facing * line(outer, 0.5)
    for spot in signs.consolidations:
        echo = _consolidation(moment, echo, signs, spot)
    echo *= scene.blotches * decay(below, scene.loss_mm)
    echo += _pleural_line(moment, signs, below)
    noise = as_float32(0.0006 * look.haze * (scene.depth / moment.range_mm) ** 2)
    return _shadows(moment, echo) + noise


def _wall_and_mirrors(moment: Moment, signs: Signs) -> Samples:
    """The wall, and below it its copies, each fainter, that give a lung its cross-grain."""
    scene = moment.scene
    turns = scene.depth / moment.pleura
    copy = np.where(scene.depth < moment.wall_end(signs), 0, turns.astype(np.int32))
    row = (np.minimum(turns - copy, 1) * (len(scene.wall) - 1)).astype(np.int32)
    tissue = scene.wall.ravel().take(row * scene.wall.shape[1] + np.arange(scene.wall.shape[1]))
    mirror = (0.12, 0.25, 0.4)[signs.a_level] * scene.look.haze
    faintness = as_float32([1.0, mirror, 0.6 * mirror, 0.4 * mirror, 0.25 * mirror])
    return tissue * faintness.take(np.minimum(copy, 4)) * np.where(copy > 0, scene.facing, 1)


def _a_lines(moment: Moment, signs: Signs, open_: Samples) -> Samples:
    """Mirror images of the pleura at the multiples of its depth, each shorter and fainter."""
    scene = moment.scene
    strength = (0.0, 0.013, 0.032)[signs.a_level] * scene.look.contrast
    echo = np.zeros(scene.probe.shape, np.float32)
    for k in range(signs.num_a_lines):
        bell = line(scene.depth - (k + 2) * moment.pleura, 0.55 + 0.2 * k)
        width = moment.a_line_width(signs, k)
        echo += as_float32(strength * 0.66**k * width * scene.uneven) * bell
    return echo * open_


def _vertical_artefacts(moment: Moment, signs: Signs, below: Samples) -> tuple[Samples, Samples]:
    """B-lines, white lung and the short tails of indents; and how far they hide the rest."""
    contrast, far = moment.scene.look.contrast, moment.range_mm
    deep = below - 4.0 * signs.sub_pleural
    echo, cover = np.zeros_like(below), np.zeros_like(below)
    if signs.b_lines:
        beams, reach = _sum_b_lines(moment.x, signs.b_lines)
        beams = np.float32(contrast) * beams
        ends = ramp((reach * (far - moment.pleura) - deep) / (0.1 * far) + 0.5)
        shape = decay(deep, 2.5 * far) * ends * ramp(deep + 0.5)
        echo += 0.0120 * beams * shape * (1 + 0.2 * np.sin(np.float32(2.4) * deep))
        cover = np.minimum(0.85 * beams, 0.85) * shape
    if signs.white > 0:
        white = ramp((signs.white * WINDOW_MM / 2 - np.abs(moment.x)) / 3 + 0.5)
        shape = white * decay(deep, 2.0 * far) * ramp(deep + 0.5)
        echo = np.maximum(echo, 0.0130 * contrast * shape)
        cover = np.maximum(cover, 0.9 * white * (deep > 0))
    for spot in (*signs.indents, *signs.breaks):
        echo += 0.012 * contrast * bump(moment.x, spot) * decay(below, 9.0) * (below > 0)
    return as_float32(echo), as_float32(cover)


def _consolidation(moment: Moment, echo: Samples, signs: Signs, spot: Spot) -> Samples:
    """A dark body under the surface with a torn bright far border and a bright tail."""
    away, look = moment.away(signs, spot), moment.scene.look
    below = moment.scene.depth - moment.surface(signs)
    body = smoothstep((1 - away) * 2.5 + 0.5) * (below > 0)
    border = np.exp(-(((away - 1.1) / 0.14) ** 2)) * (below > 0.3 * spot.size_mm)
    tail = bump(moment.x, Spot(spot.x_mm, 1.2 * spot.size_mm)) * (below > 0.5 * spot.size_mm)
    tail = tail * (1 - body) * decay(below - spot.size_mm, 0.35 * moment.range_mm)
    hidden = min(0.9, 0.45 + 0.3 * look.contrast)
    rim = 0.008 * border * moment.scene.uneven**2 + 0.007 * tail
    return as_float32(echo * (1 - hidden * body) + look.contrast * rim)


def _pleural_line(moment: Moment, signs: Signs, below: Samples) -> Samples:
    """Bright where it faces the probe, nearly gone where it is broken."""
    scene = moment.scene
    whole = np.ones_like(moment.x)
    for spot in signs.breaks:
        whole = whole * (1 - 0.92 * np.minimum(1.6 * bump(moment.x, spot), 1))
    level = 0.125 * signs.thickness_mm**-0.6 * whole * scene.facing * scene.uneven
    half = 0.45 + 0.4 * signs.thickness_mm
    profile = np.exp(-(np.abs(below / np.float32(half)) ** 3))
    return as_float32(level) * profile * scene.blotches


def _shadows(moment: Moment, echo: Samples) -> Samples:
    """Poor contact dims whole beams; a rib shines at its face and darkens what lies below."""
    scene = moment.scene
    echo = echo * scene.contact
    for centre, half, darkness in scene.ribs:
        across = (scene.x - np.float32(centre)) / np.float32(half)
        top = moment.pleura - 5 + np.float32(2.5) * across**2
        shade = as_float32(darkness * smoothstep((1.45 - np.abs(across)) / 1.05))
        under = ramp((scene.depth - top) / 9) ** 0.7 * shade
        bright = np.exp(-(across**4)) * scene.facing**0.5 * scene.uneven * scene.contact
        echo = echo * (1 - under) + as_float32(0.02 * bright) * line(scene.depth - top, 0.7)
    return echo


def _sum_b_lines(x: Beams, b_lines: Iterable[BLine]) -> tuple[Beams, Beams]:
    """Strength of all B-lines at each beam, and their mean reach there."""
    total, reach = np.full(x.shape, 1e-6), np.full(x.shape, 1e-6)
    for b_line in b_lines:
        beam = b_line.strength * np.exp(-0.5 * ((x - b_line.x_mm) / (0.5 * b_line.width_mm)) ** 2)
        total, reach = total + beam, reach + beam * b_line.reach
    return as_float32(total), as_float32(reach / total)


def line(away_mm: Samples, half_mm: float) -> Samples:
    """A bell of a line's echo, at `away_mm` from its middle."""
    return np.exp(np.float32(-0.5 / half_mm**2) * away_mm**2)


def decay(below_mm: Samples, length_mm: float) -> Samples:
    """Exponential loss with depth, 1 at and above the surface."""
    return np.exp(np.float32(-1 / length_mm) * np.maximum(below_mm, 0))


def ramp(value: Float32[np.ndarray, "*shape"]) -> Float32[np.ndarray, "*shape"]:
    """0 below 0, 1 above 1."""
    return np.clip(value, 0, 1)


def smoothstep(value: Float32[np.ndarray, "*shape"]) -> Float32[np.ndarray, "*shape"]:
    """`ramp` with rounded ends."""
    value = ramp(value)
    return value * value * (3 - 2 * value)
