"""Phantom patients: one disease, one `burden`, and the traits that all clips share.

The `burden` is how much of the lung is involved. It drives the findings of every clip and, with
chance, the S/F ratio; a planted confounder ties one trait to it.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from lus_ray.clip import DISEASES

Domain = Literal["A", "B"]
Confounder = Literal["gain", "fat", "depth", "probe"]

PLEURA_QUANTILES = (
    (0.0, 0.5, 0.77, 0.79, 0.95, 0.97, 1.0),
    (0.13, 0.2, 0.28, 0.38, 0.52, 0.7, 0.73),
)
"""Share of patients, and the depth of their pleura as a share of the image height: far enough from
the thirds of the image to call its location by eye."""


@dataclass(frozen=True)
class Profile:
    """Effects of a disease on a lung; probabilities, except for `burden` (0-1) and `sf_drop`,
    the loss of S/F ratio that no finding shows."""

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

    `fat_mm`: the wall above the muscle; `pleura_mm`: depth of the pleura; `height_mm`: of the
    image; `gain_db`: 0 is the usual setting.
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


def sample_patient(
    *,
    seed: int,
    domain: Domain,
    index: int,
    difficulty: float,
    probe: str | None,
    confounder: Confounder | None,
) -> Patient:
    """The patient of this seed, domain and index, independent of all others.

    Every seven patients have one of each disease. A planted `confounder` makes that trait follow
    the burden (rank correlation about 0.9) instead of chance.
    """
    rng = seeded_rng(seed, domain, 1, index)
    num_diseases = len(DISEASES)
    order = seeded_rng(seed, domain, 0, index // num_diseases).permutation(num_diseases)
    disease = DISEASES[order[index % num_diseases]]
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
    fraction = float(np.interp(1 - rank["depth"], *PLEURA_QUANTILES))
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


def seeded_rng(seed: int, domain: Domain, *key: int) -> np.random.Generator:
    return np.random.default_rng([seed, ord(domain), *key])
