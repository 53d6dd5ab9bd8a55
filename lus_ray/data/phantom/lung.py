"""The lung of one phantom clip: its findings at worst, those in between, and when which show.

Burden and chance give every clip a grade; grade, disease and chance give its findings.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from lus_ray.data.phantom import findings
from lus_ray.data.phantom.findings import WINDOW_MM, BLine, Lesions, LungFindings, Spot, Spots
from lus_ray.data.phantom.patient import PROFILES, Domain, Patient, Profile

A_LEVELS = ((0.12, 0.43, 0.45), (0.5, 0.4, 0.1), (0.8, 0.2, 0.0), (1.0, 0.0, 0.0))
"""Probability of no, weak and strong A-lines in a lung of grade 0-3."""


@dataclass(frozen=True)
class Lung:
    """Findings of one clip.

    `presence` (T,) 0-1: how far the worst findings are in view; they count from 0.5 on.
    """

    rest: LungFindings
    worst: LungFindings
    presence: Float[np.ndarray, "T"]

    def findings_per_frame(self) -> list[LungFindings]:
        return [self.worst if share >= 0.5 else self.rest for share in self.presence]


def sample_lung(
    patient: Patient, domain: Domain, *, num_frames: int, rng: np.random.Generator
) -> Lung:
    worst = sample_findings(patient, domain, rng)
    presence = sample_presence(num_frames, findings.grade_severity(worst), rng)
    return Lung(findings.reduce_grade(worst), worst, presence)


def sample_findings(patient: Patient, domain: Domain, rng: np.random.Generator) -> LungFindings:
    latent = patient.burden + 0.16 * rng.standard_normal()
    grade = int(np.digitize(latent, (0.24, 0.47, 0.68)))
    profile = PROFILES[patient.disease]
    smooth = bool(rng.random() < profile.smooth)
    thick = int(grade > 0 and not smooth) + int(grade > 1 and rng.random() < 0.5)
    thick += int(rng.random() < profile.thick)
    effusion = 0.0
    if grade > 0 and rng.random() < profile.effusion:
        effusion = rng.uniform(2, 4) if rng.random() < 0.5 else rng.uniform(7, 14)
        effusion = min(effusion, 0.45 * (patient.height_mm - patient.pleura_mm))
    a_level = int(rng.choice(3, p=A_LEVELS[grade]))
    max_lines = int(0.93 * patient.height_mm / patient.pleura_mm)
    num_a_lines = min(int(rng.integers(1, 5)), max_lines - 1) if a_level and effusion == 0 else 0
    lesions = sample_lesions(grade, smooth, profile, rng)
    return LungFindings(
        a_level=a_level if num_a_lines > 0 else 0,
        num_a_lines=num_a_lines,
        a_width_mm=rng.uniform(21.5, 25) if rng.random() < 0.35 else rng.uniform(8, 18),
        b_lines=sample_b_lines(grade, smooth, domain, rng),
        sub_pleural=bool(lesions.consolidations and rng.random() < 0.6),
        thickness_mm=(0.7, 2.4, 4.4, 5.8)[min(thick, 3)] + rng.uniform(-0.2, 0.3),
        effusion_mm=effusion,
        **vars(lesions),
    )


def sample_lesions(grade: int, smooth: bool, profile: Profile, rng: np.random.Generator) -> Lesions:
    """The lesions of a lung of a grade; a `smooth` pleura has no indents."""
    indents = sample_spots(rng) if grade >= 1 and not smooth else ()
    breaks: Spots = ()
    consolidations: Spots = ()
    white = 0.0
    if grade >= 2:
        solid = rng.random() < profile.consolidation
        consolidations = sample_spots(rng) if solid else ()
        breaks = () if solid and rng.random() < 0.3 else sample_spots(rng)
    if grade == 3:
        white = rng.uniform(0.65, 1.0)
        if rng.random() < profile.consolidation:
            consolidations = (Spot(rng.uniform(-3, 3), rng.uniform(11.5, 15)),)
            white = white if rng.random() < 0.5 else 0.0
    return Lesions(white=white, indents=indents, breaks=breaks, consolidations=consolidations)


def sample_spots(rng: np.random.Generator) -> Spots:
    """Spots of one kind of lesion: few small, several small, or one of 5-10 or 10-14 mm."""
    kind = rng.choice(4, p=(0.4, 0.3, 0.2, 0.1))
    if kind >= 2:
        size = rng.uniform(6, 9) if kind == 2 else rng.uniform(10.8, 13)
        return (Spot(rng.uniform(-1, 1) * (WINDOW_MM - size - 4) / 2, size),)
    count = int(rng.integers(1, 3) if kind == 0 else rng.integers(3, 6))
    positions = spread_positions(count, WINDOW_MM - 8, reserved=0.45, rng=rng)
    return tuple(Spot(x, rng.uniform(2.0, 4.6)) for x in positions)


def sample_b_lines(
    grade: int, smooth: bool, domain: Domain, rng: np.random.Generator
) -> tuple[BLine, ...]:
    """Vertical artefacts of a grade; in domain B their width, strength and reach vary more."""
    if grade == 0:
        return ()
    low, high = ((1, 4), (2, 8), (4, 12))[grade - 1]
    count = int(rng.integers(low, high))
    if grade == 1 and not smooth and rng.random() < 0.15:
        count = 0
    lines = []
    room_mm = WINDOW_MM - (10 if domain == "A" else 4)
    for x in spread_positions(count, room_mm, reserved=0.7, rng=rng):
        if domain == "A":
            width, strength, reach = rng.uniform(1.6, 2.4), rng.uniform(0.75, 1.25), 1.0
        else:
            width, strength = rng.uniform(0.9, 4.0), np.exp(0.5 * rng.standard_normal())
            reach = rng.uniform(0.45, 1.0)
        lines.append(BLine(x, width, float(strength), reach))
    return tuple(lines)


def spread_positions(
    count: int, width_mm: float, *, reserved: float, rng: np.random.Generator
) -> list[float]:
    """`count` positions in a window around 0, from left to right, with groups and gaps.

    Each reserves the part `reserved` (0-1) of its equal share of the window, so that no two
    coincide; the rest is distributed at random.
    """
    reserved_mm = reserved * width_mm / max(count, 1)
    gaps = (1 - reserved) * width_mm * rng.dirichlet(np.ones(count + 1))
    positions = np.cumsum(gaps[:count]) + reserved_mm * (np.arange(count) + 0.5) - width_mm / 2
    return positions.tolist()


def sample_presence(
    num_frames: int, grade: int, rng: np.random.Generator
) -> Float[np.ndarray, "T"]:
    """How far the worst findings are in view, 0-1 per frame; changing in six of ten sick clips."""
    always, visible, start = rng.random(3)
    if grade == 0 or num_frames < 4 or always < 0.4:
        return np.ones(num_frames)
    visible = 0.35 + 0.35 * visible
    start = start * (1.2 - visible) - 0.1
    ramp = max(1.0, 0.08 * num_frames)
    frames = np.arange(num_frames)
    inside = np.minimum(frames - start * num_frames, (start + visible) * num_frames - frames)
    return np.clip(0.5 + inside / ramp, 0.0, 1.0)
