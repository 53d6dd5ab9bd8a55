"""The anatomy of the phantom: what the beams of a probe meet in one chest, and where.

From the skin down: wall (fat and muscle between fasciae), two ribs with their shadows, the
pleural line. Arrays are D depth samples by B beams. Depths are along the beam; `x` is the position
on the pleura relative to the middle of the window between the ribs. Findings glide with the breath.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float32
from scipy.ndimage import gaussian_filter1d, zoom

from lus_ray.data.phantom.findings import WINDOW_MM, LungFindings, Spot
from lus_ray.data.phantom.patient import Patient
from lus_ray.data.phantom.transducer import Beams, Probe, Samples

WALL_SAMPLES = 192
"""Rows U of the wall, whatever its depth in millimetres."""


@dataclass(frozen=True)
class Appearance:
    """Amplitudes relative to a usual image of the same lung.

    `contrast` of the findings; `haze` of the lung below the pleura; `streaks`: unevenness of the
    haze across the beams, which mimics vertical artefacts.
    """

    contrast: float
    haze: float
    streaks: float


class Scene:
    def __init__(
        self, patient: Patient, probe: Probe, appearance: Appearance, rng: np.random.Generator
    ) -> None:
        self.probe, self.appearance, self.pleura_mm = probe, appearance, patient.pleura_mm
        num_beams = probe.shape[1]
        self.depth = probe.depth_mm[:, None]
        offset = rng.uniform(-1, 1) * (6 if patient.probe == "convex" else 1.5)
        self.x = probe.lateral_mm(patient.pleura_mm) - np.float32(offset)
        flat = rng.uniform(0.1, 0.9) * (1 / np.cos(probe.angle) - 1)
        flat *= probe.radius_mm + patient.pleura_mm
        tilt = rng.normal(0, 0.05) * self.x
        wave = 0.35 * smooth_noise(num_beams, 0.08, rng)
        self.pleura = as_float32(patient.pleura_mm + flat + tilt + wave)
        specular = rng.uniform(-2, 2)
        self.facing = as_float32(0.12 + 0.88 * np.exp(-(((self.x - specular) / 13) ** 2)))
        self.facing_centre = specular
        self.uneven = as_float32(np.exp(0.4 * smooth_noise(num_beams, 0.025, rng)))
        self.streaks = as_float32(np.exp(appearance.streaks * smooth_noise(num_beams, 0.02, rng)))
        self.ragged = as_float32(0.25 * np.clip(smooth_noise(num_beams, 0.018, rng), -2, 2))
        self.blotches = sample_blotches(probe.shape, rng)
        self.loss_mm = rng.uniform(0.35, 0.9) * float(probe.depth_mm[-1])
        self.wall = sample_wall(patient, num_beams, rng)
        self.ribs = sample_ribs(patient, rng)
        self.contact = self._sample_contact(rng)
        self.in_window = np.abs(self.x) < WINDOW_MM / 2 + 3

    @cached_property
    def beam_mm(self) -> float:
        """Distance between two beams at the pleura."""
        return float(np.abs(np.diff(self.x)).mean())

    def at_breath(self, breath: float, glide_mm: float) -> "SceneState":
        """The scene at breath -1 to 1, which moves the pleura by 0.8 mm, the lung by `glide_mm`."""
        pleura = self.pleura + np.float32(0.8 * breath)
        return SceneState(self, pleura, self.x - np.float32(glide_mm * breath))

    def _sample_contact(self, rng: np.random.Generator) -> Beams:
        free = WINDOW_MM / 2 + 6
        contact = np.ones(self.x.shape)
        for side in (-1, 1):
            if rng.random() < 0.5:
                outside = np.clip((side * self.x - free - rng.uniform(0, 12)) / 12, 0, 1)
                contact = contact * (1 - rng.uniform(0.5, 0.97) * outside)
        return as_float32(contact)


@dataclass(frozen=True)
class SceneState:
    """A scene at one breath: `pleura` (B,) depth of the parietal pleura, `x` (B,), both in mm."""

    scene: Scene
    pleura: Beams
    x: Beams

    def lung_surface(self, findings: LungFindings) -> Beams:
        """Depth of the lung surface: below the effusion, dipping at indents."""
        return self.parietal_depth(findings) + np.float32(findings.effusion_mm)

    def parietal_depth(self, findings: LungFindings) -> Beams:
        """Depth of the parietal pleura, which follows the lung into its indents."""
        end = self.pleura
        for spot in findings.indents:
            end = end + np.float32(np.clip(0.5 * spot.size_mm - 0.4, 0.7, 3.5)) * bump(self.x, spot)
        return end

    @property
    def range_mm(self) -> float:
        return float(self.scene.probe.depth_mm[-1])

    def a_line_width(self, findings: LungFindings, k: int) -> Beams:
        """How far (0-1) each beam meets A-line `k`; the deeper ones are narrower."""
        half = findings.a_width_mm / 2 * 0.88**k
        away = np.abs(self.scene.x - self.scene.facing_centre)
        return as_float32(1 / (1 + np.exp(np.clip((away - half) / 0.8, -30, 30))))

    def consolidation_distance(self, findings: LungFindings, spot: Spot) -> Samples:
        """0 in the middle of a consolidation, 1 on its border.

        It sits on the pleura with a broad base and is ragged at its far side. It follows the
        pleura but not the indents beside it, which would notch it like a heart.
        """
        dip = np.interp(spot.x_mm, self.x, self.lung_surface(findings) - self.pleura)
        below = self.scene.depth - self.pleura - np.float32(dip)
        across = np.abs(self.x - spot.x_mm) / (0.5 * spot.size_mm)
        down = np.abs(below / spot.size_mm - 0.15) / (0.6 + 0.35 * self.scene.ragged)
        return as_float32((across**3 + down**3) ** (1 / 3))


def sample_wall(
    patient: Patient, num_beams: int, rng: np.random.Generator
) -> Float32[np.ndarray, "U B"]:
    """Skin, fat and muscle from the skin (row 0) to the pleura (last row), with fasciae."""
    u = np.linspace(0, 1, WALL_SAMPLES)[:, None]
    edge = patient.fat_mm / patient.pleura_mm
    level = np.where(u < edge, 0.0055, 0.0075) + 0.010 * np.exp(-u * patient.pleura_mm / 1.5)
    fibres = rng.standard_normal((WALL_SAMPLES, num_beams))
    fibres = gaussian_filter1d(gaussian_filter1d(fibres, 1.4, axis=0), 0.03 * num_beams, axis=1)
    wall = level * np.exp(0.45 * fibres / fibres.std())
    across = np.linspace(-1, 1, num_beams)
    for fascia in [edge, *rng.uniform(0.1, 0.92, int(rng.integers(3, 7)))]:
        course = fascia + rng.normal(0, 0.12) * across
        course = course + rng.uniform(0, 0.25) * across**2
        course = course + 0.02 * smooth_noise(num_beams, 0.1, rng)
        strength = 0.007 * np.exp(1.1 * smooth_noise(num_beams, 0.05, rng) + rng.normal(0, 0.5))
        wall += strength * np.exp(-(((u - course) * patient.pleura_mm / 0.45) ** 2) / 2)
    return as_float32(wall)


def sample_blotches(shape: tuple[int, int], rng: np.random.Generator) -> Samples:
    """Slow unevenness of an image around 1, as from coupling and inhomogeneous tissue."""
    num_depths, num_beams = shape
    field = rng.standard_normal((num_depths // 8 + 1, num_beams // 8 + 1))
    field = gaussian_filter1d(gaussian_filter1d(field, 1.2, axis=0), 1.2, axis=1)
    field = zoom(field / field.std(), 8, order=1)[:num_depths, :num_beams]
    return as_float32(np.exp(0.22 * field))


def sample_ribs(patient: Patient, rng: np.random.Generator) -> list[tuple[float, float, float]]:
    """(middle, half width, darkness 0-1) of each rib in view, beside the window."""
    visible = 0.75 if patient.probe == "convex" else 0.35
    ribs = []
    for side in (-1, 1):
        half = rng.uniform(5, 8)
        if rng.random() < visible:
            ribs.append((side * (WINDOW_MM / 2 + 2.5 + half), half, rng.uniform(0.75, 0.96)))
    return ribs


def smooth_noise(count: int, scale: float, rng: np.random.Generator) -> Beams:
    """A smooth random curve, mean 0 and deviation 1, with bends of `scale` of its length."""
    curve = gaussian_filter1d(rng.standard_normal(count), scale * count, mode="reflect")
    return as_float32((curve - curve.mean()) / curve.std())


def bump(x: Beams, spot: Spot) -> Beams:
    """1 in the middle of a spot, falling to 0 at its borders."""
    inside = np.clip((x - spot.x_mm) / spot.size_mm, -0.5, 0.5)
    return as_float32(np.cos(np.pi * inside) ** 2)


def as_float32(values: object) -> Float32[np.ndarray, "*shape"]:
    """Arithmetic with Python's numbers ends in 64 bits; images are made in 32."""
    return np.asarray(values, np.float32)
