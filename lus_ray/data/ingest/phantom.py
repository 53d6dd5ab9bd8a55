"""Phantom clips: pictures of lungs that never were, with truth at every level.

One patient (`phantom_patient`) gives everything: the lung under each clip (`phantom_lung`), its
grade in every frame and 38 biomarkers (`phantom_signs`), the place of all that the beams meet
(`phantom_scene`), what is seen of it (`phantom_echo`, `phantom_probe`) and how it is labelled
(`phantom_masks`), the readings of five raters (`phantom_raters`), the S/F ratio and the disease.

What is truth and what is not: masks, biomarkers, `frame_severity` and `severity` follow from the
signs without error (the severity of a clip is its worst frame); `raters` err as
`phantom_raters.confusion` states; disease and S/F ratio are only partly visible in a lung. In
domain B the outlines of B-lines in masks are unsteady as well.

Why two domains: a method that adapts needs a difference to adapt to. In A, B-lines are alike,
reach the bottom and are outlined with care; in B their place, size and background vary, and gain,
speckle, depth and fan differ (Mason 2021, section 2).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from lus_ray.clip import MASK_SCHEMES
from lus_ray.data.ledger import Ledger
from lus_ray.data.phantom.anatomy import Look, Scene
from lus_ray.data.phantom.echoes import echoes_between
from lus_ray.data.phantom.findings import biomarkers, severity
from lus_ray.data.phantom.lung import Lung, draw_lung
from lus_ray.data.phantom.masks import labels
from lus_ray.data.phantom.patient import Confounder, Domain, Patient, draw_patient, stream
from lus_ray.data.phantom.raters import outlined, read_by_raters
from lus_ray.data.phantom.transducer import Probe, Speckle, convex, linear
from lus_ray.errors import InputError

FPS = 25.0
ZONES = ("R1", "R2", "R3", "L1", "L2", "L3")
"""BLUE points; a patient's seventh clip is a second look at the first of them."""

PROBES = ("convex", "linear")

UNSCORED: dict[str, Any] = {"severity": None, "raters": None}
"""What a clip has that nobody scored as a whole; its frames are scored all the same."""


@dataclass(frozen=True)
class Acquisition:
    """How the clips of a domain are taken and outlined.

    `grain`: speckle in samples along and across the beams; `steady`: its share that stays from
    frame to frame; `fan`: smallest and largest half angle in degrees; `jitter_mm`: error of the
    outlines of B-lines.
    """

    gain_db: float
    grain: tuple[float, float]
    steady: float
    fan: tuple[float, float]
    radius_mm: float
    haze: float
    jitter_mm: float


ACQUISITIONS: dict[Domain, Acquisition] = {
    "A": Acquisition(-2.0, (0.6, 1.5), 0.75, (33, 38), 48.0, 1.0, 0.0),
    "B": Acquisition(0.0, (0.9, 2.3), 0.6, (25, 31), 60.0, 1.6, 0.8),
}


def clips(
    root: Path | None = None,
    ledger: Ledger | None = None,
    *,
    patients: int = 24,
    clips: int = 3,
    frames: int = 30,
    size: int = 224,
    seed: int = 0,
    domain: str = "A",
    difficulty: float = 0.5,
    probe: str | None = None,
    masks: str = "dense",
    confounder: str | None = None,
    video_labels: float = 1.0,
) -> Iterator[dict[str, Any]]:
    """Phantom clips, patient by patient: the columns of `lus_ray.clip.make` and `frames`.

    The same seed, domain, patient and clip number give the same bytes, whatever else is asked
    for. `root` is not read. `patients`, `clips`: patients per domain and clips per patient;
    `frames` (T) per clip at 25 a second; `size`: pixels of the square picture; `domain`: "A", "B"
    or "A,B"; `difficulty` 0-1: contrast of the signs, haze, overlap of diseases, errors of raters;
    `probe`: "convex", "linear" or a mix where None; `masks`: a name in `MASK_SCHEMES` or "none";
    `confounder`: the trait ("gain", "fat", "depth", "probe") that follows the disease burden;
    `video_labels` 0-1: share of each patient's clips that have `severity` and `raters`, at least
    one where it is above 0; which ones, depends on `clips` too. The others have null there, and
    are the same in all else.

    Raises:
        InputError: an option is out of its range.
    """
    domains = _checked_domains(domain)
    _check_options(patients=patients, clips=clips, frames=frames, size=size, seed=seed)
    _check_options(difficulty=difficulty, video_labels=video_labels)
    _check_choice("probe", probe, (None, *PROBES))
    _check_choice("masks", masks, (*MASK_SCHEMES, "none"))
    _check_choice("confounder", confounder, (None, *get_args(Confounder)))
    if ledger is not None:
        ledger.note(
            "phantom",
            "all clips",
            f"synthetic: seed {seed}, difficulty {difficulty:g}, confounder {confounder}"
            + (f", clip scores on a share of {video_labels:g}" if video_labels < 1 else ""),
        )
    scheme = None if masks == "none" else masks
    traits: dict[str, Any] = {"probe": probe, "confounder": confounder, "difficulty": difficulty}
    return (
        _row(patient, number, Take(name, seed, difficulty, frames, size, scheme))
        | ({} if number in scored else UNSCORED)
        for name in domains
        for index in range(patients)
        for patient in [draw_patient(seed=seed, domain=name, index=index, **traits)]
        for scored in [scored_clips(seed, name, index, num_clips=clips, share=video_labels)]
        for number in range(clips)
    )


def scored_clips(
    seed: int, domain: Domain, index: int, *, num_clips: int, share: float
) -> set[int]:
    """Numbers of the clips of one patient that have a score of the whole clip.

    Each clip has its place in a queue by chance; a larger share adds clips and takes none away.
    """
    num_scored = max(1, round(share * num_clips)) if share > 0 else 0
    places = [stream(seed, domain, 4, index, number).random() for number in range(num_clips)]
    return set(np.argsort(places)[:num_scored].tolist())


@dataclass(frozen=True)
class Take:
    """What is asked of every clip of a domain; `scheme` is None where no masks are wanted."""

    domain: Domain
    seed: int
    difficulty: float
    frames: int
    size: int
    scheme: str | None


def _row(patient: Patient, number: int, take: Take) -> dict[str, Any]:
    rng = stream(take.seed, take.domain, 2, patient.index, number)
    lung = draw_lung(patient, take.domain, num_frames=take.frames, rng=rng)
    grade = severity(lung.worst)
    picture_rng = stream(take.seed, take.domain, 3, patient.index, number)
    name = f"phantom/{take.domain}{take.seed}-p{patient.index:04d}"
    again, zone = divmod(number, len(ZONES))
    return {
        "clip": f"{name}-{ZONES[zone]}" + (f"_{again + 1}" if again else ""),
        "patient": name,
        "source": "phantom",
        "probe": patient.probe,
        "zone": ZONES[zone],
        "domain": take.domain,
        "fps": FPS,
        "mask_scheme": take.scheme,
        "frame_severity": [severity(signs) for signs in lung.frames()],
        "severity": grade,
        "raters": read_by_raters(grade, take.domain, take.difficulty, rng=rng),
        "biomarkers": biomarkers(lung.worst, patient),
        "sf_ratio": patient.sf_ratio,
        "disease": patient.disease,
        **_film(patient, lung, take, rng=picture_rng),
    }


def _film(patient: Patient, lung: Lung, take: Take, *, rng: np.random.Generator) -> dict[str, Any]:
    """The columns `frames`, `masks` and `mm_per_pixel`."""
    taken = ACQUISITIONS[take.domain]
    probe = _probe(patient, taken, take.size, rng)
    scene = Scene(patient, probe, look(taken, take.difficulty, rng), rng)
    outline = outlined(lung, taken.jitter_mm, rng)
    speckle = Speckle(probe.shape, grain=taken.grain, steady=taken.steady, rng=rng)
    glide_mm, phase = rng.uniform(1.2, 2.5), rng.uniform(0, 2 * np.pi)
    gain_db = taken.gain_db + patient.gain_db + rng.normal(0, 1)
    frames = np.empty((take.frames, take.size, take.size), np.uint8)
    masks = np.zeros_like(frames) if take.scheme else None
    for t, (share, signs) in enumerate(zip(lung.presence, outline.frames(), strict=True)):
        breath = float(np.sin(phase + 2 * np.pi * patient.breaths_per_s * t / FPS))
        moment = scene.at(breath, glide_mm)
        echo = echoes_between(moment, lung.rest, lung.worst, float(share))
        shift = round(glide_mm * breath / scene.beam_mm)
        echo *= speckle.frame(probe.depth_mm[:, None] > moment.pleura, shift)
        frames[t] = probe.picture(echo, gain_db)
        if masks is not None and take.scheme:
            masks[t] = probe.labels(labels(moment, signs, take.scheme))
    return {"frames": frames, "masks": masks, "mm_per_pixel": probe.mm_per_pixel}


def look(taken: Acquisition, difficulty: float, rng: np.random.Generator) -> Look:
    """Pictures of a difficulty 0-1: fainter signs in a denser and more uneven haze."""
    return Look(
        contrast=1.35 - 0.7 * difficulty,
        haze=taken.haze * (0.7 + 0.6 * difficulty) * float(np.exp(rng.normal(0, 0.2))),
        streaks=0.1 + 0.4 * difficulty,
    )


def _probe(patient: Patient, taken: Acquisition, size: int, rng: np.random.Generator) -> Probe:
    height_mm = patient.height_mm
    if patient.probe == "linear":
        return linear(size, height_mm=height_mm, aperture_mm=rng.uniform(38, 50))
    return convex(
        size,
        height_mm=height_mm,
        radius_mm=taken.radius_mm,
        half_angle=np.deg2rad(rng.uniform(*taken.fan)),
        cap_mm=rng.uniform(0.005, 0.03) * height_mm,
    )


def _checked_domains(domain: str) -> list[Domain]:
    names = [name.strip() for name in str(domain).split(",")]
    for name in names:
        _check_choice("domain", name, get_args(Domain))
    return sorted(set(names))  # type: ignore[arg-type]


def _check_options(**options: float) -> None:
    ranges = {
        "patients": (1, 9999),
        "clips": (1, 99),
        "frames": (1, 10_000),
        "size": (64, 2048),
        "seed": (0, 2**31 - 1),
        "difficulty": (0.0, 1.0),
        "video_labels": (0.0, 1.0),
    }
    for name, value in options.items():
        low, high = ranges[name]
        whole = isinstance(low, int)
        if not low <= value <= high or (whole and value != int(value)):
            raise InputError(f"phantom: {name} is {value!r}; give a number from {low} to {high}")


def _check_choice(name: str, value: str | None, choices: tuple[str | None, ...]) -> None:
    if value not in choices:
        allowed = ", ".join(choice for choice in choices if choice)
        raise InputError(f"phantom: {name} is {value!r}; use one of {allowed}")
