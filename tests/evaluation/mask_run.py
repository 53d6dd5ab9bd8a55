"""A run folder as an experiment on masks leaves it."""

import numpy as np
import pyarrow as pa

from lus_ray.clip import MASK_SCHEMES
from lus_ray.metrics import calibration, segmentation
from tests.evaluation.run_folders import MATRIX, TEST, arm, identity, write_rows, write_run

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
CLAIM = {"text": "", "metric": "union_dice", "better": "ensemble", "than": "U-Net"}
PAPER = {"ensemble": {"union_dice": [0.75, None], "pixel_accuracy": [0.96, None]}}
MASK_FIELDS = (("counts", pa.list_(pa.list_(pa.int32()))), ("bins", MATRIX))
SIZE = 24


def write_mask_run(out, *, folds=(0, 1, 2), **facts):
    known = {"metrics": METRICS, "gaps": [GAP], "claims": [CLAIM], "published": PAPER}
    write_run(out, ARMS, **{**known, **facts})
    for fold in folds:
        for entry in ARMS:
            write_mask_cell(out, entry, fold)
    return out


def write_mask_cell(
    out, entry, fold, *, num_frames=2, patients=TEST, num_pairs=None, without=(), **about
):
    scheme = scheme_of(entry)
    by_image = (entry.get("rows") or {}).get("images")
    rows = []
    for number, patient in enumerate(patients):
        clip = f"{patient}-{(number + fold) % 3 if by_image else 0}"
        counts, bins = counted(entry, fold, number, num_frames)
        flat = counts.reshape(num_frames, -1)[:, :num_pairs].tolist()
        masks = {"counts": flat, "bins": bins.tolist()}
        columns = {name: own for name, own in masks.items() if name not in without}
        rows.append(identity(clip, patient, fold, **columns))
    about = {"classes": list(MASK_SCHEMES[scheme]), "scheme": scheme} | about
    return write_rows(out, entry, fold, rows, about=about, target=pa.int32(), more=MASK_FIELDS)


def scheme_of(entry):
    return entry["label"].removesuffix(" masks")


def counted(entry, fold, number, num_frames):
    num_classes = len(MASK_SCHEMES[scheme_of(entry)])
    shape = (num_frames, SIZE, SIZE)
    truth = np.random.default_rng([number]).choice(num_classes, shape).astype(np.uint8)
    rng = np.random.default_rng([fold, number])
    skill = SKILL.get(entry["name"], 0.5)
    predicted = np.where(rng.random(shape) < skill, truth, rng.choice(num_classes, shape))
    confidence = rng.uniform(skill, 1, shape).ravel()
    bins = calibration.checked_histogram(confidence, (predicted == truth).ravel())
    guess = predicted.astype(np.uint8)
    return segmentation.count_pixels(truth, guess, num_classes=num_classes), bins
