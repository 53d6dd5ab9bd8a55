"""What a phantom patient is besides the lung: sex, age, site, device and etiology.

None of it changes a pixel: it has a random stream of its own, and the device and the body mass
index follow what the image already has. Subgroups of phantom clips therefore differ in how they
look, but not in how sick they are.
"""

from typing import Any

import numpy as np

from lus_ray.clip import ETIOLOGIES, SEXES
from lus_ray.data.phantom.patient import Domain, Patient, seeded_rng
from lus_ray.data.phantom.scanner import DYNAMIC_RANGE_DB, Scanner

DISEASE_WITH_ETIOLOGY = "other lung disease"
ETIOLOGY_SHARES = (0.5, 0.3, 0.2)
"""Of `ETIOLOGIES`."""
NUM_SITES = 3
SIMILAR_DB = 20 / 3
"""Machines whose dynamic range is this close to the usual one are the second device."""


def describe_patient(
    patient: Patient, scanner: Scanner, domain: Domain, *, seed: int
) -> dict[str, Any]:
    """The columns of a clip that describe its patient, equal for all clips of the patient.

    The index rises with the wall above the muscle; the device is one of three kinds by the dynamic
    range of the scanner.
    """
    rng = seeded_rng(seed, domain, 7, patient.index)
    site, sex = rng.integers(NUM_SITES) + 1, SEXES[rng.integers(len(SEXES))]
    age = round(float(np.clip(rng.normal(58, 17), 18, 95)))
    bmi = round(float(np.clip(17 + 0.8 * patient.fat_mm + rng.normal(0, 2.5), 15, 55)), 1)
    etiology = str(rng.choice(ETIOLOGIES, p=ETIOLOGY_SHARES))
    off_db = scanner.dynamic_range_db - DYNAMIC_RANGE_DB
    kind = 1 if off_db < -SIMILAR_DB else 3 if off_db > SIMILAR_DB else 2
    return {
        "site": f"site {domain}{site}",
        "device": f"phantom device {kind}",
        "sex": sex,
        "age": age,
        "bmi": bmi,
        "etiology": etiology if patient.disease == DISEASE_WITH_ETIOLOGY else None,
    }
