"""The truth of a phantom clip: who the patient is, and which signs the lung shows.

A patient has one disease and one `burden` (how much of the lung is involved). Burden and chance
give every clip a grade; grade, disease and chance give its signs; everything that is ever called
truth (severity, biomarkers, masks) is read off the signs and nothing else.

Why signs are cumulative: a lung of grade s also shows what grade s - 1 shows, so that the milder
moments of a clip are the same lung with its worst signs out of sight (`milder`).

Lengths are millimetres; `x_mm` is the lateral place on the pleura, 0 in the middle.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float

from lus_ray.clip import BIOMARKER_GROUPS, DISEASES, NUM_SEVERITIES

Domain = Literal["A", "B"]
Confounder = Literal["gain", "fat", "depth", "probe"]

NUM_RATERS = 5
"""Readers per clip, as in Roy 2020 (five clinicians, who agreed in 67 % of clips)."""

WINDOW_MM = 26.0
"""Pleura between two ribs; every sign lies in it."""

SMALL_MM = 10.0
"""Largest size of a consolidation that still counts as small (grade 2)."""

PLEURA_PLACES = ((0.0, 0.5, 0.77, 0.79, 0.95, 0.97, 1.0), (0.13, 0.2, 0.28, 0.38, 0.52, 0.7, 0.73))
"""Share of patients, and down to which share of the picture's height their pleura lies: far
enough from the thirds of the picture to call its location by eye."""


A_LEVELS = ((0.12, 0.43, 0.45), (0.5, 0.4, 0.1), (0.8, 0.2, 0.0), (1.0, 0.0, 0.0))
"""Probability of no, weak and strong A-lines in a lung of grade 0-3."""


@dataclass(frozen=True)
class Profile:
    """What a disease does to a lung; probabilities, except `burden` and `sf_drop`.

    `burden` 0-1; `sf_drop`: loss of S/F ratio that no lung sign shows.
    """

    burden: float
    smooth: float
    effusion: float
    consolidation: float
    thick: float
    sf_drop: float


PROFILES: dict[str, Profile] = dict(
    zip(
        DISEASES,
        (
            Profile(0.10, smooth=0.7, effusion=0.00, consolidation=0.1, thick=0.0, sf_drop=0),
            Profile(0.66, smooth=0.1, effusion=0.05, consolidation=0.7, thick=0.3, sf_drop=40),
            Profile(0.56, smooth=0.1, effusion=0.05, consolidation=0.3, thick=0.7, sf_drop=20),
            Profile(0.26, smooth=0.5, effusion=0.02, consolidation=0.3, thick=0.1, sf_drop=90),
            Profile(0.66, smooth=0.8, effusion=0.45, consolidation=0.2, thick=0.0, sf_drop=30),
            Profile(0.56, smooth=0.3, effusion=0.35, consolidation=0.9, thick=0.2, sf_drop=10),
            Profile(0.22, smooth=0.5, effusion=0.10, consolidation=0.3, thick=0.1, sf_drop=25),
        ),
        strict=True,
    )
)


@dataclass(frozen=True)
class Patient:
    """Traits that all clips of a patient share.

    `fat_mm` is the wall above the muscle; `pleura_mm` the depth of the pleura; `height_mm` what
    the picture shows from top to bottom; `gain_db` 0 is the usual setting.
    """

    index: int
    disease: str
    burden: float
    sf_ratio: float
    probe: str
    gain_db: float
    fat_mm: float
    pleura_mm: float
    height_mm: float
    breaths_per_s: float


@dataclass(frozen=True)
class Spot:
    """An indent, a break or a consolidation: its middle and its size."""

    x_mm: float
    size_mm: float


@dataclass(frozen=True)
class BLine:
    """A vertical artefact; `reach` is the share of the picture below the pleura that it crosses."""

    x_mm: float
    width_mm: float
    strength: float
    reach: float


Spots = tuple[Spot, ...]


@dataclass(frozen=True, kw_only=True)
class Lesions:
    """What the lung has lost; `white` is the share of the window without any striation."""

    white: float
    indents: Spots
    breaks: Spots
    consolidations: Spots


@dataclass(frozen=True, kw_only=True)
class Signs(Lesions):
    """What the lung shows at one moment; `a_level` is 0 none, 1 weak, 2 strong."""

    a_level: int
    num_a_lines: int
    a_width_mm: float
    b_lines: tuple[BLine, ...]
    sub_pleural: bool
    thickness_mm: float
    effusion_mm: float


@dataclass(frozen=True)
class Lung:
    """What one clip shows: its worst moment, the milder rest, and when which is in sight.

    `presence` (T,) 0-1 says how far the worst signs are in sight; they are where it is at least
    one half.
    """

    rest: Signs
    worst: Signs
    presence: Float[np.ndarray, "T"]

    def frames(self) -> list[Signs]:
        """The signs in sight, frame by frame."""
        return [self.worst if share >= 0.5 else self.rest for share in self.presence]

    def outlined(self, jitter_mm: float, rng: np.random.Generator) -> "Lung":
        """The lung as an unsteady hand outlines it: B-lines off by about `jitter_mm`."""
        rest, worst = (_outline(signs, jitter_mm, rng) for signs in (self.rest, self.worst))
        return replace(self, rest=rest, worst=worst)


def draw_patient(
    *,
    seed: int,
    domain: Domain,
    index: int,
    difficulty: float,
    probe: str | None,
    confounder: Confounder | None,
) -> Patient:
    """The patient of this seed, domain and index, whoever else is drawn.

    Diseases are dealt in rounds, one of each per round. A planted `confounder` makes that trait
    follow the burden (rank correlation about 0.9) instead of chance.
    """
    rng = stream(seed, domain, 1, index)
    num_diseases = len(DISEASES)
    deal = stream(seed, domain, 0, index // num_diseases).permutation(num_diseases)
    disease = DISEASES[deal[index % num_diseases]]
    profile = PROFILES[disease]
    spread = 0.14 + 0.12 * difficulty
    burden = float(np.clip(profile.burden + spread * rng.standard_normal(), 0.0, 1.0))
    sf_ratio = 500 - 400 * burden**1.2 - profile.sf_drop
    sf_ratio += (25 + 70 * difficulty) * rng.standard_normal()
    rank = {name: rng.random() for name in ("gain", "fat", "depth", "probe")}
    shift = 0.12 * rng.standard_normal()
    if confounder is not None:
        rank[confounder] = float(np.clip(burden + shift, 0.0, 1.0))
    if domain == "B":
        rank["depth"] **= 0.6
    chosen = probe or ("linear" if rank["probe"] > 0.72 else "convex")
    fraction = float(np.interp(1 - rank["depth"], *PLEURA_PLACES))
    wall, thinnest, deepest = (11.0, 45.0, 160.0) if chosen == "convex" else (7.0, 32.0, 65.0)
    fat_mm = (14 if chosen == "convex" else 8) * rank["fat"] + 3
    pleura_mm = max(fat_mm + wall, fraction * thinnest)
    return Patient(
        index=index,
        disease=disease,
        burden=burden,
        sf_ratio=float(np.clip(sf_ratio, 70, 476)),
        probe=chosen,
        gain_db=12 * (rank["gain"] - 0.5),
        fat_mm=pleura_mm - wall,
        pleura_mm=pleura_mm,
        height_mm=float(min(pleura_mm / fraction, deepest)),
        breaths_per_s=rng.uniform(0.2, 0.45),
    )


def draw_lung(
    patient: Patient, domain: Domain, *, num_frames: int, rng: np.random.Generator
) -> Lung:
    """The lung under one zone of a patient, for the length of a clip."""
    worst = draw_signs(patient, domain, rng)
    return Lung(milder(worst), worst, draw_presence(num_frames, severity(worst), rng))


def draw_signs(patient: Patient, domain: Domain, rng: np.random.Generator) -> Signs:
    """The worst moment of one clip of a patient."""
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
    room = int(0.93 * patient.height_mm / patient.pleura_mm)
    num_a_lines = min(int(rng.integers(1, 5)), room - 1) if a_level and effusion == 0 else 0
    lesions = draw_lesions(grade, smooth, profile, rng)
    return Signs(
        a_level=a_level if num_a_lines > 0 else 0,
        num_a_lines=num_a_lines,
        a_width_mm=rng.uniform(21.5, 25) if rng.random() < 0.35 else rng.uniform(8, 18),
        b_lines=draw_b_lines(grade, smooth, domain, rng),
        sub_pleural=bool(lesions.consolidations and rng.random() < 0.6),
        thickness_mm=(0.7, 2.4, 4.4, 5.8)[min(thick, 3)] + rng.uniform(-0.2, 0.3),
        effusion_mm=effusion,
        **vars(lesions),
    )


def draw_lesions(grade: int, smooth: bool, profile: Profile, rng: np.random.Generator) -> Lesions:
    """What a lung of a grade has lost; a `smooth` pleura has no indents."""
    indents = draw_spots(rng) if grade >= 1 and not smooth else ()
    breaks: Spots = ()
    consolidations: Spots = ()
    white = 0.0
    if grade >= 2:
        solid = rng.random() < profile.consolidation
        consolidations = draw_spots(rng) if solid else ()
        breaks = () if solid and rng.random() < 0.3 else draw_spots(rng)
    if grade == 3:
        white = rng.uniform(0.65, 1.0)
        if rng.random() < profile.consolidation:
            consolidations = (Spot(rng.uniform(-3, 3), rng.uniform(11.5, 15)),)
            white = white if rng.random() < 0.5 else 0.0
    return Lesions(white=white, indents=indents, breaks=breaks, consolidations=consolidations)


def draw_spots(rng: np.random.Generator) -> Spots:
    """Places of one kind of lesion: few small, several small, or one of 5-10 or 10-14 mm."""
    kind = rng.choice(4, p=(0.4, 0.3, 0.2, 0.1))
    if kind >= 2:
        size = rng.uniform(6, 9) if kind == 2 else rng.uniform(10.8, 13)
        return (Spot(rng.uniform(-1, 1) * (WINDOW_MM - size - 4) / 2, size),)
    count = int(rng.integers(1, 3) if kind == 0 else rng.integers(3, 6))
    places = spread(count, WINDOW_MM - 8, rng)
    return tuple(Spot(x, rng.uniform(2.2, 4.2)) for x in places)


def draw_b_lines(
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
    for x in spread(count, WINDOW_MM - (10 if domain == "A" else 4), rng):
        if domain == "A":
            width, strength, reach = rng.uniform(1.6, 2.4), rng.uniform(0.75, 1.25), 1.0
        else:
            width, strength = rng.uniform(0.9, 4.0), np.exp(0.5 * rng.standard_normal())
            reach = rng.uniform(0.45, 1.0)
        lines.append(BLine(x, width, float(strength), reach))
    return tuple(lines)


def spread(count: int, width_mm: float, rng: np.random.Generator) -> list[float]:
    """`count` places in a window around 0, one in each of as many equal parts."""
    parts = (np.arange(count) + rng.uniform(0.25, 0.75, count)) / max(count, 1)
    return [float(x) for x in (parts - 0.5) * width_mm]


def severity(signs: Signs) -> int:
    """The grade 0-3 of what is seen (Soldati 2020), by its worst sign."""
    largest = max((spot.size_mm for spot in signs.consolidations), default=0.0)
    if signs.white > 0 or largest > SMALL_MM:
        return 3
    if signs.breaks or signs.consolidations:
        return 2
    return int(bool(signs.indents or signs.b_lines))


def milder(signs: Signs) -> Signs:
    """The same lung with the signs of its grade out of sight: exactly one grade less."""
    grade = severity(signs)
    if grade == 3:
        small = tuple(spot for spot in signs.consolidations if spot.size_mm <= SMALL_MM)
        breaks = signs.breaks or (Spot(0.0, 3.0),)
        return replace(signs, white=0.0, consolidations=small, breaks=breaks)
    if grade == 2:
        indents = signs.indents or (() if signs.b_lines else (Spot(0.0, 3.0),))
        return replace(signs, breaks=(), consolidations=(), sub_pleural=False, indents=indents)
    return replace(signs, b_lines=(), indents=())


def draw_presence(num_frames: int, grade: int, rng: np.random.Generator) -> Float[np.ndarray, "T"]:
    """How far the worst signs are in sight, 0-1 per frame; they are where it is at least 0.5.

    In six of ten clips above grade 0 the probe or the breath brings them in, out, or both.
    """
    always, seen, start = rng.random(3)
    if grade == 0 or num_frames < 4 or always < 0.4:
        return np.ones(num_frames)
    seen = 0.35 + 0.35 * seen
    start = start * (1.2 - seen) - 0.1
    ramp = max(1.0, 0.08 * num_frames)
    frames = np.arange(num_frames)
    inside = np.minimum(frames - start * num_frames, (start + seen) * num_frames - frames)
    return np.clip(0.5 + inside / ramp, 0.0, 1.0)


def biomarkers(signs: Signs, patient: Patient) -> list[int]:
    """The 38 answers for one moment, in the order of `BIOMARKERS`; all of them are judged.

    One box per group is ticked, and for A-lines "stacked" and "wide" beside it where they apply.
    """
    ticked = {
        "A-lines": {("none", "weak", "strong")[signs.a_level]},
        "B-lines": {"white" if signs.white > 0 else _count(len(signs.b_lines))},
        "B-line origin": {"not applicable"},
        "pleural thickness": {_level(signs.thickness_mm, (1.5, 3.5, 5.0), "pleural thickness")},
        "pleural location": {
            _level(patient.pleura_mm / patient.height_mm, (1 / 3, 2 / 3), "pleural location")
        },
        "pleural indent": {_spots(signs.indents)},
        "pleural break": {_spots(signs.breaks)},
        "consolidation": {_spots(signs.consolidations)},
        "effusion": {_level(signs.effusion_mm, (0.1, 5.0), "effusion")},
    }
    if signs.white > 0 or signs.b_lines:
        ticked["B-line origin"] = {"sub-pleura" if signs.sub_pleural else "pleura"}
    if signs.a_level and signs.num_a_lines > 1:
        ticked["A-lines"].add("stacked")
    if signs.a_level and signs.a_width_mm > 20:
        ticked["A-lines"].add("wide")
    groups = BIOMARKER_GROUPS.items()
    return [int(level in ticked[group]) for group, levels in groups for level in levels]


def confusion(domain: Domain, difficulty: float) -> Float[np.ndarray, "K K"]:
    """P(reader says column | truth is row): errors are one grade off, never more.

    A reader errs with 0.06 + 0.36 difficulty (0.24 at the default), half as often again in B.
    """
    error = (0.06 + 0.36 * difficulty) * (1.5 if domain == "B" else 1.0)
    table = np.eye(NUM_SEVERITIES) * (1 - error)
    for grade in range(NUM_SEVERITIES):
        neighbours = [k for k in (grade - 1, grade + 1) if 0 <= k < NUM_SEVERITIES]
        table[grade, neighbours] = error / len(neighbours)
    return table


def read_by_raters(
    grade: int, domain: Domain, difficulty: float, *, rng: np.random.Generator
) -> list[int]:
    """Independent readings of one clip, drawn from `confusion`."""
    row = confusion(domain, difficulty)[grade]
    return [int(k) for k in rng.choice(NUM_SEVERITIES, size=NUM_RATERS, p=row)]


def stream(seed: int, domain: Domain, *key: int) -> np.random.Generator:
    """Chance that depends on nothing but its address."""
    return np.random.default_rng([seed, ord(domain), *key])


def _outline(signs: Signs, jitter_mm: float, rng: np.random.Generator) -> Signs:
    if jitter_mm == 0:
        return signs
    moved = tuple(
        BLine(
            x_mm=line.x_mm + jitter_mm * rng.standard_normal(),
            width_mm=max(1.0, line.width_mm * float(np.exp(0.3 * rng.standard_normal()))),
            strength=line.strength,
            reach=float(np.clip(line.reach + 0.1 * rng.standard_normal(), 0.3, 1.0)),
        )
        for line in signs.b_lines
    )
    return replace(signs, b_lines=moved)


def _count(num_lines: int) -> str:
    return ("none", "few", "some", "many")[int(np.digitize(num_lines, (1, 4, 7)))]


def _level(value: float, edges: Sequence[float], group: str) -> str:
    return BIOMARKER_GROUPS[group][int(np.digitize(value, edges))]


def _spots(spots: Spots) -> str:
    if not spots:
        return "none"
    largest = max(spot.size_mm for spot in spots)
    if largest < 5:
        return "< 5 mm few" if len(spots) < 3 else "< 5 mm multiple"
    return "5-10 mm" if largest <= 10 else "> 10 mm"
