"""Masks of a finer scheme read in a coarser one, without training or new predictions.

Source: Gare et al. 2021, section 3.1: dense predictions are compared in the sparse classes.
"""

from typing import ClassVar

import numpy as np

from lus_ray.clip import MASK_SCHEMES
from lus_ray.data import masks
from lus_ray.metrics import segmentation
from lus_ray.tasks.task import PredictionRow, Task


class MergedClasses(Task):
    """The pixel counts of an earlier arm with its classes of `source` merged to those of `scheme`.

    Raises:
        ArmError: `source` cannot be converted to `scheme`.
    """

    reads_rows: ClassVar[bool] = True

    def __init__(self, source: str, scheme: str) -> None:
        super().__init__()
        self.source, self.scheme = source, scheme
        self.mapping = masks.class_map(source, scheme)
        self.label, self.classes = f"{scheme} masks", MASK_SCHEMES[scheme]

    def predict(self, row: PredictionRow) -> dict[str, np.ndarray]:  # type: ignore[override]
        """`counts` (N, K K) of a row of the earlier arm; empty where it has no masks."""
        if row["counts"] is None:
            return {}
        side = len(MASK_SCHEMES[self.source])
        counts = np.asarray(row["counts"]).reshape(-1, side, side)
        merged = segmentation.merge_classes(counts, self.mapping)
        return {"counts": merged.reshape(len(counts), -1).astype(np.int32)}

    def target(self, row: PredictionRow) -> str | None:
        return row["mask_scheme"]
