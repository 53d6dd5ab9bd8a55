"""The anatomy of the phantom: what the beams of a probe meet in one chest, and its classes.

From the skin down: wall (fat and muscle between fasciae), two ribs with their shadows, the
pleural line, and below it no anatomy but artefacts: mirrored wall, A-lines at the multiples of
the pleural depth, vertical artefacts. Consolidation and effusion are the only things one sees.

Arrays are D depth samples by B beams. Depths are along the beam, `x` is the place on the pleura
relative to the middle of the window between the ribs; lung signs glide along it with the breath.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from scipy.ndimage import gaussian_filter1d, zoom

from lus_ray.ingest.phantom_patient import SMALL_MM, WINDOW_MM, BLine, Patient, Signs, Spot
from lus_ray.ingest.phantom_probe import Beams, Classes, Hits, Probe, Samples

REGION_MM = 15.0
"""Depth of the band below the pleura that dense masks call healthy or unhealthy region."""

MARKER_MM = np.array((1.5, 8.0, 11.0, 26.0), np.float32)
"""How far below the pleura a marker of grade 0-3 reaches."""

SPARSE = np.array((0, 1, 2, 3, 3, 0, 0), np.uint8)
"""Sparse class of each dense class (Gare 2021: both pleurae are one, regions are background)."""

WALL_SAMPLES = 192


@dataclass(frozen=True)
class Look:
    """What makes pictures of the same lung differ: amplitudes relative to a usual picture.

    `contrast` of the lung signs, `haze` of the lung below the pleura, `streaks`: how uneven the
    haze is across the beams, which feigns vertical artefacts.
    """

    contrast: float
    haze: float
    streaks: float


class Scene:
    """One chest before one probe. `at` gives a moment of it."""

    def __init__(
        self, patient: Patient, probe: Probe, look: Look, rng: np.random.Generator
    ) -> None:
        self.probe, self.look, self.pleura_mm = probe, look, patient.pleura_mm
        num_beams = probe.shape[1]
        self.depth = probe.depth_mm[:, None]
        offset = rng.uniform(-1, 1) * (6 if patient.probe == "convex" else 1.5)
        self.x = probe.lateral_mm(patient.pleura_mm) - np.float32(offset)
        flat = rng.uniform(0.1, 0.9) * (1 / np.cos(probe.angle) - 1)
        flat *= probe.radius_mm + patient.pleura_mm
        tilt = rng.normal(0, 0.05) * self.x
        wave = 0.35 * smooth(num_beams, 0.08, rng)
        self.pleura = _f32(patient.pleura_mm + flat + tilt + wave)
        specular = rng.uniform(-2, 2)
        self.facing = _f32(0.12 + 0.88 * np.exp(-(((self.x - specular) / 13) ** 2)))
        self.facing_centre = specular
        self.uneven = _f32(np.exp(0.4 * smooth(num_beams, 0.025, rng)))
        self.streaks = _f32(np.exp(look.streaks * smooth(num_beams, 0.02, rng)))
        self.ragged = _f32(0.25 * smooth(num_beams, 0.03, rng))
        self.blotches = draw_blotches(probe.shape, rng)
        self.loss_mm = rng.uniform(0.35, 0.9) * float(probe.depth_mm[-1])
        self.wall = draw_wall(patient, num_beams, rng)
        self.ribs = draw_ribs(patient, rng)
        self.contact = self._draw_contact(rng)
        self.in_window = np.abs(self.x) < WINDOW_MM / 2 + 3

    @property
    def beam_mm(self) -> float:
        """Distance of two beams at the pleura."""
        return float(np.abs(np.diff(self.x)).mean())

    def at(self, breath: float, glide_mm: float) -> "Moment":
        """The scene with the pleura 0.8 mm and the lung `glide_mm` out at breath -1 to 1."""
        return Moment(
            self, self.pleura + np.float32(0.8 * breath), self.x - np.float32(glide_mm * breath)
        )

    def _draw_contact(self, rng: np.random.Generator) -> Beams:
        """Poor coupling dims one or both sides of the picture, never the window."""
        free = WINDOW_MM / 2 + 6
        contact = np.ones(self.x.shape)
        for side in (-1, 1):
            if rng.random() < 0.5:
                outside = np.clip((side * self.x - free - rng.uniform(0, 12)) / 12, 0, 1)
                contact = contact * (1 - rng.uniform(0.5, 0.97) * outside)
        return _f32(contact)


@dataclass(frozen=True)
class Moment:
    """A scene at one breath: `pleura` (B,) depth of the parietal pleura in mm, `x` (B,) places."""

    scene: Scene
    pleura: Beams
    x: Beams

    def surface(self, signs: Signs) -> Beams:
        """Depth of the lung surface: below the effusion, dipping at indents."""
        return self._wall_end(signs) + np.float32(signs.effusion_mm)

    def _wall_end(self, signs: Signs) -> Beams:
        """Depth of the parietal pleura, which follows the lung into its indents."""
        end = self.pleura
        for spot in signs.indents:
            end = end + np.float32(np.clip(0.4 * spot.size_mm, 1.2, 3.5)) * bump(self.x, spot)
        return end

    def echo_between(self, rest: Signs, worst: Signs, share: float) -> Samples:
        """Echoes while one state gives way to the other; `share` 1 is the worst alone."""
        if share in (0.0, 1.0):
            return self.echo(worst if share else rest)
        return np.float32(1 - share) * self.echo(rest) + np.float32(share) * self.echo(worst)

    def echo(self, signs: Signs) -> Samples:
        """Amplitude of the echoes before speckle."""
        scene, look = self.scene, self.scene.look
        below = scene.depth - self.surface(signs)
        echo = self._wall_and_mirrors(signs)
        lines, cover = self._vertical_artefacts(signs, below)
        haze = _f32(0.0042 * look.haze * scene.streaks) * decay(below, 0.9 * self.range_mm)
        lung = (echo + haze) * (1 - cover) + self._a_lines(signs, 1 - cover) + lines
        echo = np.where(below > 0, lung, echo)
        if signs.effusion_mm > 0:
            outer = scene.depth - self._wall_end(signs)
            fluid = (outer > 0) & (below < 0)
            echo = np.where(fluid, np.float32(0.0012), echo)
            echo += 0.03 * scene.facing * line(outer, 0.5)
        for spot in signs.consolidations:
            echo = self._consolidation(echo, spot, below)
        echo *= scene.blotches * decay(below, scene.loss_mm)
        echo += self._pleural_line(signs, below)
        return self._shadows(echo) + _f32(0.0006 * look.haze * (scene.depth / self.range_mm) ** 2)

    @property
    def range_mm(self) -> float:
        """How deep the picture reaches."""
        return float(self.scene.probe.depth_mm[-1])

    def _wall_and_mirrors(self, signs: Signs) -> Samples:
        """The wall, and below it its copies, each fainter, that give a lung its cross-grain."""
        scene = self.scene
        turns = scene.depth / self.pleura
        copy = np.where(scene.depth < self._wall_end(signs), 0, turns.astype(np.int32))
        row = (np.minimum(turns - copy, 1) * (WALL_SAMPLES - 1)).astype(np.int32)
        tissue = scene.wall.ravel().take(row * scene.wall.shape[1] + np.arange(scene.wall.shape[1]))
        mirror = (0.12, 0.25, 0.4)[signs.a_level] * scene.look.haze
        faintness = _f32([1.0, mirror, 0.6 * mirror, 0.4 * mirror, 0.25 * mirror])
        return tissue * faintness.take(np.minimum(copy, 4)) * np.where(copy > 0, scene.facing, 1)

    def _a_lines(self, signs: Signs, open_: Samples) -> Samples:
        """Mirror images of the pleura at the multiples of its depth, each shorter and fainter."""
        scene = self.scene
        strength = (0.0, 0.013, 0.032)[signs.a_level] * scene.look.contrast
        echo = np.zeros(scene.probe.shape, np.float32)
        for k in range(signs.num_a_lines):
            bell = line(scene.depth - (k + 2) * self.pleura, 0.55 + 0.2 * k)
            echo += _f32(strength * 0.66**k * self._a_line_width(signs, k) * scene.uneven) * bell
        return echo * open_

    def _a_line_width(self, signs: Signs, k: int) -> Beams:
        half = signs.a_width_mm / 2 * 0.88**k
        away = np.abs(self.scene.x - self.scene.facing_centre)
        return _f32(1 / (1 + np.exp(np.clip((away - half) / 0.8, -30, 30))))

    def _vertical_artefacts(self, signs: Signs, below: Samples) -> tuple[Samples, Samples]:
        """B-lines, white lung and the short tails of indents; and how far they hide the rest."""
        contrast, far = self.scene.look.contrast, self.range_mm
        deep = below - 4.0 * signs.sub_pleural
        echo, cover = np.zeros_like(below), np.zeros_like(below)
        if signs.b_lines:
            beams, reach = _sum_b_lines(self.x, signs.b_lines)
            beams = np.float32(contrast) * beams
            ends = ramp((reach * (far - self.pleura) - deep) / (0.1 * far) + 0.5)
            shape = decay(deep, 2.5 * far) * ends * ramp(deep + 0.5)
            echo += 0.0120 * beams * shape * (1 + 0.2 * np.sin(np.float32(2.4) * deep))
            cover = np.minimum(0.85 * beams, 0.85) * shape
        if signs.white > 0:
            white = ramp((signs.white * WINDOW_MM / 2 - np.abs(self.x)) / 3 + 0.5)
            shape = white * decay(deep, 2.0 * far) * ramp(deep + 0.5)
            echo = np.maximum(echo, 0.0130 * contrast * shape)
            cover = np.maximum(cover, 0.9 * white * (deep > 0))
        for spot in (*signs.indents, *signs.breaks):
            echo += 0.012 * contrast * bump(self.x, spot) * decay(below, 9.0) * (below > 0)
        return _f32(echo), _f32(cover)

    def _consolidation(self, echo: Samples, spot: Spot, below: Samples) -> Samples:
        """A dark body under the surface with a torn bright far border and a bright tail."""
        away = self._away(spot, below)
        body = smoothstep((1 - away) * 2.5 + 0.5) * (below > 0)
        border = np.exp(-(((away - 1.1) / 0.14) ** 2)) * (below > 0.3 * spot.size_mm)
        tail = bump(self.x, Spot(spot.x_mm, 1.2 * spot.size_mm)) * (below > 0.5 * spot.size_mm)
        tail = tail * (1 - body) * decay(below - spot.size_mm, 0.35 * self.range_mm)
        hidden = min(0.9, 0.45 + 0.3 * self.scene.look.contrast)
        rim = 0.008 * border * self.scene.uneven**2 + 0.007 * tail
        return _f32(echo * (1 - hidden * body) + self.scene.look.contrast * rim)

    def _away(self, spot: Spot, below: Samples) -> Samples:
        """0 in the middle of a consolidation, 1 on its border."""
        across = (self.x - spot.x_mm) / (0.5 * spot.size_mm)
        down = (below - 0.25 * spot.size_mm) / (0.6 * spot.size_mm) + self.scene.ragged
        return _f32(np.sqrt(across**2 + down**2))

    def _pleural_line(self, signs: Signs, below: Samples) -> Samples:
        """Bright where it faces the probe, nearly gone where it is broken."""
        whole = np.ones_like(self.x)
        for spot in signs.breaks:
            whole = whole * (1 - 0.92 * np.minimum(1.6 * bump(self.x, spot), 1))
        level = 0.125 * signs.thickness_mm**-0.6 * whole * self.scene.facing * self.scene.uneven
        half = 0.45 + 0.4 * signs.thickness_mm
        return _f32(level) * np.exp(-(np.abs(below / np.float32(half)) ** 3)) * self.scene.blotches

    def _shadows(self, echo: Samples) -> Samples:
        """Poor contact dims whole beams; a rib shines at its face and darkens what lies below."""
        scene = self.scene
        echo = echo * scene.contact
        for centre, half, darkness in scene.ribs:
            across = (scene.x - np.float32(centre)) / np.float32(half)
            top = self.pleura - 5 + np.float32(2.5) * across**2
            shade = _f32(darkness * smoothstep((1.45 - np.abs(across)) / 1.05))
            under = ramp((scene.depth - top) / 9) ** 0.7 * shade
            bright = np.exp(-(across**4)) * scene.facing**0.5 * scene.uneven * scene.contact
            echo = echo * (1 - under) + _f32(0.02 * bright) * line(scene.depth - top, 0.7)
        return echo

    def labels(self, signs: Signs, scheme: str) -> Classes:
        """Class ids of `MASK_SCHEMES[scheme]`; beams in the shadow of a rib are background."""
        below = self.scene.depth - self.surface(signs)
        if scheme == "markers":
            return self._markers(signs, below)
        b_line = self._b_line_pixels(signs, below)
        if scheme == "bline":
            return b_line.astype(np.uint8)
        sick = self._beam_grades(signs) > 0
        open_ = self._open_beams()
        pleura = (np.abs(below) <= self._half_thickness(signs)) & open_
        region = (below > 0) & (below < REGION_MM) & open_
        a_line = self._a_line_pixels(signs) & ~b_line
        classes = np.zeros(below.shape, np.uint8)
        classes[region & ~sick] = 5
        classes[region & sick] = 6
        classes[a_line] = 1
        classes[b_line] = 2
        thick = sick | (signs.thickness_mm > 3.5)
        classes[pleura & ~thick] = 3
        classes[pleura & thick] = 4
        return classes if scheme == "dense" else SPARSE[classes]

    def _markers(self, signs: Signs, below: Samples) -> Classes:
        grades = self._beam_grades(signs)
        lower = MARKER_MM.take(grades)
        inside = (below > -1.5) & (below < lower) & self._open_beams()
        return np.where(inside, grades + 1, 0).astype(np.uint8)

    def _beam_grades(self, signs: Signs) -> UInt8[np.ndarray, "B"]:
        """Grade 0-3 of the signs that each beam meets."""
        grades = np.zeros(self.x.shape, np.uint8)
        for b_line in signs.b_lines:
            grades[self._meet(b_line.x_mm, 1.2 * b_line.width_mm)] = 1
        for spots, grade in ((signs.indents, 1), (signs.breaks, 2), (signs.consolidations, 2)):
            for spot in spots:
                hit = self._meet(spot.x_mm, spot.size_mm)
                large = grade == 2 and spots is signs.consolidations and spot.size_mm > SMALL_MM
                grades[hit] = np.maximum(grades[hit], 3 if large else grade)
        if signs.white > 0:
            grades[np.abs(self.x) < signs.white * WINDOW_MM / 2] = 3
        return grades

    def _b_line_pixels(self, signs: Signs, below: Samples) -> Hits:
        deep = below - 4.0 * signs.sub_pleural
        reach_mm = np.zeros_like(self.x)
        room = self.range_mm - self.pleura
        for b_line in signs.b_lines:
            hit = self._meet(b_line.x_mm, 1.2 * b_line.width_mm)
            reach_mm[hit] = np.maximum(reach_mm, b_line.reach * room)[hit]
        if signs.white > 0:
            hit = np.abs(self.x) < signs.white * WINDOW_MM / 2
            reach_mm[hit] = room[hit]
        lines = (deep > 0) & (deep < reach_mm) & self._unshadowed()
        for spot in signs.consolidations:
            lines &= self._away(spot, below) > 1
        return lines

    def _a_line_pixels(self, signs: Signs) -> Hits:
        found = np.zeros(self.scene.probe.shape, bool)
        for k in range(signs.num_a_lines):
            near = np.abs(self.scene.depth - (k + 2) * self.pleura) < 0.9 + 0.2 * k
            found |= near & (self._a_line_width(signs, k) > 0.5)
        return found & self._unshadowed()

    def _meet(self, x_mm: float, width_mm: float) -> Bool[np.ndarray, "B"]:
        """Beams that meet a sign; a sign is never too narrow to leave a pixel in a mask."""
        least = 1.5 * max(self.scene.beam_mm, self.scene.probe.mm_per_pixel)
        return np.abs(self.x - x_mm) <= max(width_mm, least) / 2

    def _half_thickness(self, signs: Signs) -> float:
        """Half of the pleural line in mm, at least most of a pixel so that it has no holes."""
        return max(signs.thickness_mm / 2 + 0.3, 0.9 * self.scene.probe.mm_per_pixel)

    def _open_beams(self) -> Bool[np.ndarray, "B"]:
        return self.scene.in_window & self._unshadowed()

    def _unshadowed(self) -> Bool[np.ndarray, "B"]:
        free = self.scene.contact > 0.5
        for centre, half, _ in self.scene.ribs:
            free &= np.abs(self.scene.x - centre) > half
        return free


def draw_wall(
    patient: Patient, num_beams: int, rng: np.random.Generator
) -> Float32[np.ndarray, "U B"]:
    """Skin, fat and muscle from the skin (row 0) to the pleura (last row), with fasciae."""
    u = np.linspace(0, 1, WALL_SAMPLES)[:, None]
    edge = patient.fat_mm / patient.pleura_mm
    level = np.where(u < edge, 0.0055, 0.0075) + 0.010 * np.exp(-u * patient.pleura_mm / 1.5)
    fibres = rng.standard_normal((WALL_SAMPLES, num_beams))
    fibres = gaussian_filter1d(gaussian_filter1d(fibres, 1.4, axis=0), 0.03 * num_beams, axis=1)
    wall = level * np.exp(0.45 * fibres / fibres.std())
    places = [edge, *rng.uniform(0.1, 0.92, int(rng.integers(3, 7)))]
    for place in places:
        course = place + rng.normal(0, 0.12) * np.linspace(-1, 1, num_beams)
        course = course + rng.uniform(0, 0.25) * np.linspace(-1, 1, num_beams) ** 2
        course = course + 0.02 * smooth(num_beams, 0.1, rng)
        strength = 0.007 * np.exp(1.1 * smooth(num_beams, 0.05, rng) + rng.normal(0, 0.5))
        wall += strength * np.exp(-(((u - course) * patient.pleura_mm / 0.45) ** 2) / 2)
    return _f32(wall)


def draw_blotches(shape: tuple[int, int], rng: np.random.Generator) -> Samples:
    """Slow unevenness of a picture around 1, as from coupling and inhomogeneous tissue."""
    num_depths, num_beams = shape
    field = rng.standard_normal((num_depths // 8 + 1, num_beams // 8 + 1))
    field = gaussian_filter1d(gaussian_filter1d(field, 1.2, axis=0), 1.2, axis=1)
    field = zoom(field / field.std(), 8, order=1)[:num_depths, :num_beams]
    return _f32(np.exp(0.22 * field))


def draw_ribs(patient: Patient, rng: np.random.Generator) -> list[tuple[float, float, float]]:
    """(middle, half width, darkness 0-1) of each rib in view, beside the window."""
    seen = 0.75 if patient.probe == "convex" else 0.35
    ribs = []
    for side in (-1, 1):
        half = rng.uniform(5, 8)
        if rng.random() < seen:
            ribs.append((side * (WINDOW_MM / 2 + 2.5 + half), half, rng.uniform(0.75, 0.96)))
    return ribs


def smooth(count: int, scale: float, rng: np.random.Generator) -> Beams:
    """A smooth random curve, mean 0 and deviation 1, with bends of `scale` of its length."""
    curve = gaussian_filter1d(rng.standard_normal(count), scale * count, mode="reflect")
    return _f32((curve - curve.mean()) / curve.std())


def bump(x: Beams, spot: Spot) -> Beams:
    """1 in the middle of a spot, falling to 0 at its borders."""
    inside = np.clip((x - spot.x_mm) / spot.size_mm, -0.5, 0.5)
    return _f32(np.cos(np.pi * inside) ** 2)


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


def _sum_b_lines(x: Beams, b_lines: Iterable[BLine]) -> tuple[Beams, Beams]:
    """Strength of all B-lines at each beam, and their mean reach there."""
    total, reach = np.full(x.shape, 1e-6), np.full(x.shape, 1e-6)
    for b_line in b_lines:
        beam = b_line.strength * np.exp(-0.5 * ((x - b_line.x_mm) / (0.5 * b_line.width_mm)) ** 2)
        total, reach = total + beam, reach + beam * b_line.reach
    return _f32(total), _f32(reach / total)


def _f32(values: object) -> Float32[np.ndarray, "*shape"]:
    return np.asarray(values, np.float32)
