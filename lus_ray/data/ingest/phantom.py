"""Phantom clips: simulated lung ultrasound with ground truth at every level.

Masks, biomarkers and severity (of a clip, that of its worst frame) follow from the findings without
error; `raters` err as in `raters.rater_confusion`; disease and S/F ratio are only partly visible.
Sex, age, body mass index, site, device and etiology are those of `demographics`.
In domain A, B-lines are alike and reach the bottom; in B their position, size, background and masks
vary, and gain, speckle, depth and fan differ (Mason 2021, section 2).
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np

from lus_ray.clip import MASK_SCHEMES
from lus_ray.data.ingest.simulation import SimulatedClips
from lus_ray.data.ledger import Ledger
from lus_ray.data.phantom.anatomy import Appearance, Scene
from lus_ray.data.phantom.demographics import describe_patient
from lus_ray.data.phantom.echoes import blend_echoes
from lus_ray.data.phantom.findings import grade_severity, label_biomarkers
from lus_ray.data.phantom.lung import Lung, sample_lung
from lus_ray.data.phantom.masks import label_samples
from lus_ray.data.phantom.patient import Confounder, Domain, Patient, sample_patient, seeded_rng
from lus_ray.data.phantom.raters import jitter_segmentation, sample_ratings
from lus_ray.data.phantom.scanner import Scanner, Scanners, sample_scanner
from lus_ray.data.phantom.transducer import Probe, Speckle, make_convex_probe, make_linear_probe
from lus_ray.errors import InputError

FPS = 25.0
ZONES = ("R1", "R2", "R3", "L1", "L2", "L3")
"""BLUE points; a patient's seventh clip repeats the first of them."""

PROBES = ("convex", "linear")

RANGES: dict[str, tuple[float, float]] = {
    "patients": (1, 9999),
    "clips": (1, 99),
    "frames": (1, 10_000),
    "size": (64, 2048),
    "seed": (0, 2**31 - 1),
    "difficulty": (0.0, 1.0),
    "video_labels": (0.0, 1.0),
}


@dataclass(frozen=True)
class Acquisition:
    """How the clips of a domain are acquired and segmented.

    `grain`: speckle in samples along and across the beams; `steady`: its share that stays from
    frame to frame; `fan`: smallest and largest half angle in degrees; `jitter_mm`: error of the
    masks of B-lines.
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
    scanners: str = "varied",
) -> SimulatedClips:
    """Phantom clips, patient by patient; each is made when it is read.

    The same seed, domain, patient and clip number give the same bytes, whatever the other options.
    `root` is not read. `patients` per domain; `clips` per patient; `frames` per clip at 25 a
    second; `size`: pixels of the square image; `domain`: "A", "B" or "A,B"; `difficulty` 0-1:
    contrast of the findings, haze, overlap of diseases, errors of raters; `probe`: "convex",
    "linear" or a mix where None; `masks`: a name in `MASK_SCHEMES` or "none"; `confounder`: the
    trait ("gain", "fat", "depth", "probe") that follows the disease burden; `video_labels` 0-1:
    share of each patient's clips with `severity` and `raters`, at least one where it is above 0
    (which ones depends on `clips` too); the others have null there and are the same in all else.
    `scanners`: "varied" (gain, time-gain compensation, dynamic range, grey scale and speckle differ
    between patients as between machines) or "same" (one machine, whose brightness alone shows much
    of the severity).

    Raises:
        InputError: an option is out of its range.
    """
    domains = _parse_domains(domain)
    numbers = {"patients": patients, "clips": clips, "frames": frames, "size": size, "seed": seed}
    _check_numbers(numbers | {"difficulty": difficulty, "video_labels": video_labels})
    _check_choice("probe", probe, (None, *PROBES))
    _check_choice("masks", masks, (*MASK_SCHEMES, "none"))
    _check_choice("confounder", confounder, (None, *get_args(Confounder)))
    _check_choice("scanners", scanners, get_args(Scanners))
    if ledger is not None:
        share = f", clip scores on a share of {video_labels:g}" if video_labels < 1 else ""
        facts = f"seed {seed}, difficulty {difficulty:g}, confounder {confounder}{share}"
        ledger.note("phantom", "all clips", f"synthetic: {facts}")
    scheme = None if masks == "none" else masks
    shared: dict[str, Any] = {
        "seed": seed, "difficulty": difficulty, "frames": frames, "size": size, "scheme": scheme,
        "scanners": scanners, "probe": probe, "confounder": confounder, "num_clips": clips,
        "video_labels": video_labels,
    }  # fmt: skip
    return SimulatedClips(
        {
            _name_clip(domain, seed, index, number): partial(_make_clip, settings, index, number)
            for domain in domains
            for settings in [ClipSettings(domain, **shared)]
            for index in range(patients)
            for number in range(clips)
        }
    )


def select_scored_clips(
    seed: int, domain: Domain, index: int, *, num_clips: int, share: float
) -> set[int]:
    """Numbers of the clips of one patient with a clip-level score; a larger share only adds."""
    num_scored = max(1, round(share * num_clips)) if share > 0 else 0
    if num_scored == num_clips:
        return set(range(num_clips))
    ranks = [seeded_rng(seed, domain, 4, index, number).random() for number in range(num_clips)]
    return set(np.argsort(ranks)[:num_scored].tolist())


@dataclass(frozen=True)
class ClipSettings:
    """Settings shared by all clips of a domain; `scheme` is None for no masks."""

    domain: Domain
    seed: int
    difficulty: float
    frames: int
    size: int
    scheme: str | None
    scanners: Scanners
    probe: str | None
    confounder: Confounder | None
    num_clips: int
    video_labels: float


def _name_clip(domain: Domain, seed: int, index: int, number: int) -> str:
    repeat, zone = divmod(number, len(ZONES))
    suffix = f"_{repeat + 1}" if repeat else ""
    return f"{_name_patient(domain, seed, index)}-{ZONES[zone]}{suffix}"


def _name_patient(domain: Domain, seed: int, index: int) -> str:
    return f"phantom/{domain}{seed}-p{index:04d}"


def _make_clip(settings: ClipSettings, index: int, number: int) -> dict[str, Any]:
    domain, seed = settings.domain, settings.seed
    patient = sample_patient(
        seed=seed, domain=domain, index=index, probe=settings.probe,
        confounder=settings.confounder, difficulty=settings.difficulty,
    )  # fmt: skip
    rng = seeded_rng(seed, domain, 2, index, number)
    lung = sample_lung(patient, domain, num_frames=settings.frames, rng=rng)
    grade = grade_severity(lung.worst)
    raters = sample_ratings(grade, domain, settings.difficulty, rng=rng)
    is_scored = number in select_scored_clips(
        seed, domain, index, num_clips=settings.num_clips, share=settings.video_labels
    )
    image_rng = seeded_rng(seed, domain, 3, index, number)
    scanner = sample_scanner(patient, domain, seed=seed, number=number, scanners=settings.scanners)
    return {
        "clip": _name_clip(domain, seed, index, number),
        "patient": _name_patient(domain, seed, index),
        "source": "phantom",
        "probe": patient.probe,
        "zone": ZONES[number % len(ZONES)],
        "domain": domain,
        "fps": FPS,
        "mask_scheme": settings.scheme,
        "frame_severity": [grade_severity(findings) for findings in lung.findings_per_frame()],
        "severity": grade if is_scored else None,
        "raters": raters if is_scored else None,
        "biomarkers": label_biomarkers(lung.worst, patient),
        "sf_ratio": patient.sf_ratio,
        "disease": patient.disease,
        **describe_patient(patient, scanner, domain, seed=seed),
        **_render_clip(patient, lung, scanner, settings, rng=image_rng),
    }


def _render_clip(
    patient: Patient,
    lung: Lung,
    scanner: Scanner,
    settings: ClipSettings,
    *,
    rng: np.random.Generator,
) -> dict[str, Any]:
    acquisition = ACQUISITIONS[settings.domain]
    probe = _sample_probe(patient, acquisition, settings.size, rng)
    scene = Scene(patient, probe, sample_appearance(acquisition, settings.difficulty, rng), rng)
    segmented = jitter_segmentation(lung, acquisition.jitter_mm, rng)
    along, across = acquisition.grain
    speckle = Speckle(
        probe.shape,
        grain=(scanner.grain * along, scanner.grain * across),
        steady=float(np.clip(acquisition.steady + scanner.steady, 0.1, 0.95)),
        softness=scanner.softness,
        rng=rng,
    )
    glide_mm, phase = rng.uniform(1.2, 2.5), rng.uniform(0, 2 * np.pi)
    gain_db = acquisition.gain_db + patient.gain_db + rng.normal(0, 1)
    frames = np.empty((settings.frames, settings.size, settings.size), np.uint8)
    masks = np.zeros_like(frames) if settings.scheme else None
    for t, findings in enumerate(segmented.findings_per_frame()):
        breath = float(np.sin(phase + 2 * np.pi * patient.breaths_per_s * t / FPS))
        state = scene.at_breath(breath, glide_mm)
        echo = blend_echoes(state, lung.rest, lung.worst, float(lung.presence[t]))
        shift = round(glide_mm * breath / scene.beam_mm)
        echo *= speckle.sample_frame(probe.depth_mm[:, None] > state.pleura, shift)
        received = scanner.receive(echo)
        if t == 0:
            gain_db = scanner.choose_gain(received, gain_db)
        frames[t] = probe.render_image(scanner.compress(received, gain_db))
        if masks is not None and settings.scheme:
            masks[t] = probe.render_labels(label_samples(state, findings, settings.scheme))
    return {"frames": frames, "masks": masks, "mm_per_pixel": probe.mm_per_pixel}


def sample_appearance(
    acquisition: Acquisition, difficulty: float, rng: np.random.Generator
) -> Appearance:
    """Difficulty 0-1 makes fainter findings in a denser and more uneven haze."""
    return Appearance(
        contrast=1.35 - 0.7 * difficulty,
        haze=acquisition.haze * (0.7 + 0.6 * difficulty) * float(np.exp(rng.normal(0, 0.2))),
        streaks=0.1 + 0.4 * difficulty,
    )


def _sample_probe(
    patient: Patient, acquisition: Acquisition, size: int, rng: np.random.Generator
) -> Probe:
    height_mm = patient.height_mm
    if patient.probe == "linear":
        return make_linear_probe(size, height_mm=height_mm, aperture_mm=rng.uniform(38, 50))
    half_angle = np.deg2rad(rng.uniform(*acquisition.fan))
    sizes = {"height_mm": height_mm, "cap_mm": rng.uniform(0.005, 0.03) * height_mm}
    return make_convex_probe(size, radius_mm=acquisition.radius_mm, half_angle=half_angle, **sizes)


def _parse_domains(domain: str) -> list[Domain]:
    names = {name.strip() for name in str(domain).split(",")}
    for name in names:
        _check_choice("domain", name, get_args(Domain))
    return sorted(names)  # type: ignore[arg-type]


def _check_numbers(options: dict[str, float]) -> None:
    for name, value in options.items():
        low, high = RANGES[name]
        if not low <= value <= high or (isinstance(low, int) and value != int(value)):
            raise InputError(
                f"phantom: --{name.replace('_', '-')} is {value!r}; "
                f"give a number from {low:g} to {high:g}"
            )


def _check_choice(name: str, value: str | None, choices: tuple[str | None, ...]) -> None:
    if value not in choices:
        allowed = ", ".join(choice for choice in choices if choice)
        raise InputError(f"phantom: --{name} is {value!r}; use one of {allowed}")
