"""A run folder as an experiment on masks leaves it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lus_ray.clip import MASK_SCHEMES
from lus_ray.metrics import calibration, segmentation
from tests.evaluation.run_folders import TEST, arm, identity, write_rows, write_run

METRICS = tuple(dict.fromkeys(name for names in segmentation.METRICS.values() for name in names))
UNET = arm("U-Net", label="markers masks", recipe={"epochs": 3}, baseline=True)
ENSEMBLE = arm("ensemble", label="markers masks", reads="U-Net")
DENSE = arm("dense", label="dense masks", recipe={"epochs": 3})
IMAGES = {"rows": {"images": True}, "recipe": {"epochs": 3, "select": "test"}}
PUBLISHED = arm("dense, published split", label="dense masks", **IMAGES)
SPARSE = arm("sparse", label="sparse masks", recipe={"epochs": 3})
BLINES = arm("B-lines", label="bline masks", recipe={"epochs": 3})
ARMS = (UNET, ENSEMBLE, DENSE, PUBLISHED, SPARSE, BLINES)
SKILL = {"U-Net": 0.5, "ensemble": 0.9, "dense": 0.5, PUBLISHED["name"]: 0.9}
GAP = {"text": "random split over images", "leaky": PUBLISHED["name"], "clean": "dense"}
CLAIM = {
    "text": "The ensemble beats its member",
    "metric": "union_dice",
    "better": "ensemble",
    "than": "U-Net",
}
PAPER = {"ensemble": {"union_dice": [0.75, None], "pixel_accuracy": [0.96, None]}}
MASK_FIELDS = (
    pa.field("counts", pa.list_(pa.list_(pa.int32()))),
    pa.field("bins", pa.list_(pa.list_(pa.float32()))),
)
SIZE = 24


def write_mask_run(out: Path, *, folds: Sequence[int] = (0, 1, 2), **facts: Any) -> Path:
    """Six arms of four mask schemes; one splits images at random."""
    known = {"metrics": METRICS, "gaps": [GAP], "claims": [CLAIM], "published": PAPER}
    write_run(out, ARMS, **{**known, **facts})
    for fold in folds:
        for entry in ARMS:
            write_mask_cell(out, entry, fold)
    return out


def write_mask_cell(
    out: Path,
    entry: dict[str, Any],
    fold: int,
    *,
    num_frames: int = 2,
    patients: Sequence[str] = TEST,
    annotated: bool = True,
    binned: bool = True,
    scheme: str | None = None,
    num_pairs: int | None = None,
) -> Path:
    """A prediction file of one clip a patient; arms with rows of images mix their clips."""
    scheme = scheme or entry["label"].removesuffix(" masks")
    by_image = (entry.get("rows") or {}).get("images")
    rows = []
    for number, patient in enumerate(patients):
        clip = f"{patient}-{(number + fold) % 3 if by_image else 0}"
        counts, bins = counted(entry, fold, number, num_frames)
        flat = counts.reshape(num_frames, -1)[:, :num_pairs].tolist()
        rows.append(
            {
                **identity(clip, patient, fold),
                "counts": flat if annotated else None,
                "bins": bins.tolist() if annotated and binned else None,
            }
        )
    classes = list(MASK_SCHEMES.get(scheme, ()))
    about = {"classes": classes, "multilabel": False, "scheme": scheme}
    kind = pa.int32()
    return write_rows(out, entry, fold, rows, about=about, target=kind, more=MASK_FIELDS)


def counted(
    entry: dict[str, Any], fold: int, number: int, num_frames: int
) -> tuple[np.ndarray, np.ndarray]:
    """Counts and histogram of frames whose pixels are right as often as the arm is skilled."""
    num_classes = len(MASK_SCHEMES[entry["label"].removesuffix(" masks")])
    shape = (num_frames, SIZE, SIZE)
    truth = np.random.default_rng([number]).choice(num_classes, shape).astype(np.uint8)
    rng = np.random.default_rng([fold, number])
    skill = SKILL.get(entry["name"], 0.5)
    predicted = np.where(rng.random(shape) < skill, truth, rng.choice(num_classes, shape))
    confidence = rng.uniform(skill, 1, shape).ravel()
    bins = calibration.checked_histogram(confidence, (predicted == truth).ravel())
    return segmentation.count_pixels(
        truth, predicted.astype(np.uint8), num_classes=num_classes
    ), bins
