"""Arms that predict masks: their pixel counts, and notes on how masks were compared.

Shapes: N scored frames of all test clips one after another, C clips, K classes, B bins.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, Int

from lus_ray.clip import MASK_SCHEMES
from lus_ray.runs.manifest import RunRecord

COLUMNS = ("clip", "patient", "domain", "split", "counts", "bins")

SMOOTHED = (
    "expert masks were smoothed with a median filter of {} pixels before the comparison, as in the "
    "released evaluation; networks were trained on the original masks"
)

BOOSTED = (
    "class probabilities are multiplied by fixed factors, which this run did not choose, before "
    "the most probable class is taken; calibration is that of the original probabilities ({})"
)


def scheme_of(label: str | None) -> str | None:
    """The mask scheme of a label such as "dense masks"; None for any other label."""
    scheme = (label or "").removesuffix(" masks")
    return scheme if scheme in MASK_SCHEMES and label != scheme else None


def describe_masks(record: RunRecord) -> dict[str, str]:
    """Notes on smoothed references and boosted probabilities, where an arm uses them."""
    arguments = {arm.name: arm.task_arguments for arm in record.arms}
    notes = {}
    if sides := sorted({task["smooth"] for task in arguments.values() if task.get("smooth")}):
        squares = " or ".join(f"{side} × {side}" for side in sides)
        notes["smoothed"] = SMOOTHED.format(squares)
    boosts = {name: task["boost"] for name, task in arguments.items() if task.get("boost")}
    if boosts:
        factors = "; ".join(f"{name}: {', '.join(map(str, b))}" for name, b in boosts.items())
        notes["boosted"] = BOOSTED.format(factors)
    return notes


def read_counts(rows: pa.Table, scheme: str) -> Int[np.ndarray, "N K K"]:
    """Confusion matrices of the scored frames, true classes by row.

    Raises:
        ValueError: an unknown scheme, a matrix of other classes, or counts below 0.
    """
    if scheme not in MASK_SCHEMES:
        raise ValueError(f"no mask scheme {scheme!r}")
    num_classes = len(MASK_SCHEMES[scheme])
    matrices = rows["counts"].combine_chunks().flatten()
    lengths = pc.unique(pc.list_value_length(matrices)).to_pylist()
    if lengths not in ([], [num_classes**2]):
        raise ValueError(f"counts of {lengths} pairs of the {num_classes} classes of {scheme!r}")
    values = matrices.flatten().to_numpy(zero_copy_only=False).astype(np.int64)
    if len(values) and values.min() < 0:
        raise ValueError("counts of pixels below 0")
    return values.reshape(len(matrices), num_classes, num_classes)


def num_frames(rows: pa.Table) -> Int[np.ndarray, "C"]:
    lengths = pc.list_value_length(rows["counts"].combine_chunks())
    return lengths.to_numpy(zero_copy_only=False).astype(np.int64)


def sum_bins(rows: pa.Table) -> Float[np.ndarray, "B 3"] | None:
    """Histograms of confidences summed over the clips; None where no clip has one.

    Raises:
        ValueError: histograms differ in their bins.
    """
    known = [own for own in rows["bins"].to_pylist() if own]
    return np.sum(np.array(known, np.float64), axis=0) if known else None
