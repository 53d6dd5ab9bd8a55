"""A run folder as an experiment on two domains leaves it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pyarrow as pa

from lus_ray import folds
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
    arm(name, **TRAINED)
    for name in (
        "unet cap",
        "unet covid→cap",
        "unet cap→covid",
        "unet joint",
        "sifa reduced covid→cap",
        "sifa cap→covid",
        "encoder covid",
        "encoder cap",
        "matched covid→cap",
        "matched cap→covid",
    )
)
SKILL = {"prior": 0.2, "unet covid": 0.4, "sifa covid→cap": 0.7}
PAPER = {
    "unet covid": {"dice_per_image, covid": [0.60, 0.26], "dice_per_image, cap": [0.36, 0.24]},
    "sifa covid→cap": {"dice_per_image, covid": [0.87, 0.13], "dice_per_image, cap": [0.71, 0.22]},
}
CLAIM = {
    "text": "Adaptation beats the source alone on the target",
    "metric": "dice_per_image, cap",
    "better": "sifa covid→cap",
    "than": "unet covid",
}
NUM_IMAGES = 4

Dice = Callable[[str, str, int], float]
"""The Dice of an image, from arm, patient and the number of the image."""


def write_domain_run(
    out: Path,
    *,
    arms: Sequence[dict[str, Any]] = ARMS,
    numbers: Sequence[int] = (0, 1, 2),
    dice: Dice | None = None,
    **facts: Any,
) -> Path:
    """Arms of B-line masks on both domains; those of test patients of other folds train."""
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


def write_domain_cell(
    out: Path,
    entry: dict[str, Any],
    fold: int,
    *,
    dice: Dice,
    patients: Sequence[str] | None = None,
    num_images: int = NUM_IMAGES,
    unknown: Sequence[str] = (),
) -> Path:
    """A prediction file of one clip a patient; clips of `unknown` patients name no domain."""
    rows = []
    for patient in TESTED[fold] if patients is None else patients:
        counts = [pixels_of(dice(entry["name"], patient, k)) for k in range(num_images)]
        domain = None if patient in unknown else domain_of(patient)
        flat = np.reshape(counts, (num_images, -1)).tolist()
        who = identity(f"{patient}-0", patient, fold, domain=domain)
        rows.append({**who, "counts": flat, "bins": None})
    about = {"classes": list(MASK_SCHEMES["bline"]), "multilabel": False, "scheme": "bline"}
    return write_rows(out, entry, fold, rows, about=about, target=pa.int32(), more=MASK_FIELDS)


def pixels_of(dice: float) -> np.ndarray:
    """Pixels of an image with 100 of B-line and 300 of background, of which 100 are predicted."""
    both = round(100 * dice)
    return np.array([[200 + both, 100 - both], [100 - both, both]])


def domain_of(patient: str) -> str:
    """The role of the domain of a patient."""
    return "covid" if patient in COVID else "cap"


def skilled_dice(name: str, patient: str, image: int) -> float:
    """Skill of the arm, worse on cap, with the difficulty of the patient and of the image."""
    rng = np.random.default_rng([crc32(name.encode()), crc32(patient.encode()), image])
    hard = 0.1 * np.random.default_rng(crc32(patient.encode())).standard_normal()
    skill = SKILL.get(name, 0.5) - (0.1 if domain_of(patient) == "cap" else 0.0)
    return float(np.clip(skill + hard + 0.1 * rng.standard_normal(), 0, 1))
