"""A run folder as an experiment on two domains leaves it."""

from typing import Any
from zlib import crc32

import numpy as np
import pyarrow as pa

import lus_ray.folds as folds
from lus_ray.clip import MASK_SCHEMES
from lus_ray.folds import Fold
from lus_ray.metrics import segmentation
from tests.evaluation.mask_run import MASK_FIELDS
from tests.evaluation.run_folders import PATIENTS, arm, identity, write_rows, write_run

COVID, CAP = PATIENTS[:6], PATIENTS[6:12]
TESTED = ((*COVID[:2], *CAP[:1]), (*COVID[2:4], *CAP[1:3]), (*COVID[4:], *CAP[3:]))
"""Two covid patients a fold, and one, two and three of cap, as in Mason 2021."""

DOMAINS = {"covid": ["covid", "A"], "cap": ["cap"]}
METRICS = tuple(
    f"{name}_per_image, {role}" for role in DOMAINS for name in segmentation.PER_IMAGE["bline"]
)
LABEL = "bline masks"
TRAINED: dict[str, Any] = {"label": LABEL, "recipe": {"epochs": 3}}
PRIOR = arm("prior", label=LABEL, baseline=True)
UNET = arm("unet covid", **TRAINED)
SIFA = arm("sifa covid→cap", **TRAINED)
VALIDATED = arm("unet covid, validated", **TRAINED)
SELECTED = arm("unet, best test epoch", label=LABEL, recipe={"epochs": 3, "select": "test"})
ARMS = (PRIOR, VALIDATED, SELECTED, UNET, SIFA)
OTHERS = tuple(
    arm(f"{network}{name}", **TRAINED)
    for network, names in {
        "unet": (" cap", " covid→cap", " cap→covid", " joint"),
        "sifa": (" reduced covid→cap", " cap→covid"),
        "encoder": (" covid", " cap"),
        "matched": (" covid→cap", " cap→covid"),
    }.items()
    for name in names
)
SKILL = {"prior": 0.2, "unet covid": 0.4, "sifa covid→cap": 0.7}
PAPER = {
    "unet covid": {"dice_per_image, covid": [0.60, 0.26], "dice_per_image, cap": [0.36, 0.24]},
    "sifa covid→cap": {"dice_per_image, covid": [0.87, 0.13], "dice_per_image, cap": [0.71, 0.22]},
}
CLAIM = {"text": "Adaptation beats the source alone", "metric": "dice_per_image, cap"}
CLAIM |= {"better": "sifa covid→cap", "than": "unet covid"}
NUM_IMAGES = 4


def write_domain_run(out, *, arms=ARMS, numbers=(0, 1, 2), dice=None, **facts):
    known = {"metrics": METRICS, "domains": DOMAINS, "published": PAPER, "claims": [CLAIM]}
    title = "B-lines across two domains"
    write_run(out, arms, **{**known, "experiment": "bline_adaptation", "title": title, **facts})
    assigned = [
        Fold(k, tuple(p for p in (*COVID, *CAP) if p not in test), (), test)
        for k, test in enumerate(TESTED)
    ]
    folds.write(assigned, out / "folds.json", protocol=folds.across_domains(3, val=False), seed=0)
    for fold in numbers:
        for entry in arms:
            write_domain_cell(out, entry, fold, dice=dice or skilled_dice)
    return out


def write_domain_cell(out, entry, fold, *, dice, patients=None, num_images=NUM_IMAGES, unknown=()):
    rows = []
    for patient in TESTED[fold] if patients is None else patients:
        counts = [pixels_of(dice(entry["name"], patient, k)) for k in range(num_images)]
        domain = None if patient in unknown else domain_of(patient)
        flat = np.reshape(counts, (num_images, -1)).tolist()
        rows.append(identity(f"{patient}-0", patient, fold, domain=domain, counts=flat))
    about = {"classes": list(MASK_SCHEMES["bline"]), "scheme": "bline"}
    return write_rows(out, entry, fold, rows, about=about, target=pa.int32(), more=MASK_FIELDS)


def pixels_of(dice):
    both = round(100 * dice)
    return np.array([[200 + both, 100 - both], [100 - both, both]])


def domain_of(patient):
    return "covid" if patient in COVID else "cap"


def skilled_dice(name, patient, image):
    rng = np.random.default_rng([crc32(name.encode()), crc32(patient.encode()), image])
    hard = 0.1 * np.random.default_rng(crc32(patient.encode())).standard_normal()
    skill = SKILL.get(name, 0.5) - (0.1 if domain_of(patient) == "cap" else 0.0)
    return float(np.clip(skill + hard + 0.1 * rng.standard_normal(), 0, 1))
