"""Pictures that a bench works on: phantom clips as a view shows them.

Letters: N frames, H rows, W columns.
"""

import numpy as np
from jaxtyping import UInt8

from lus_ray.data.ingest import phantom
from lus_ray.data.transforms.view import View


def frames_and_masks(
    view: View, *, num_clips: int, num_frames: int, scheme: str = "dense"
) -> tuple[UInt8[np.ndarray, "N H W"], UInt8[np.ndarray, "N H W"]]:
    """Grey 0-255 and class ids of whole clips of as many patients, clip after clip."""
    size = max(64, view.height, view.width)  # no phantom is smaller
    rows = phantom.clips(patients=num_clips, clips=1, frames=num_frames, size=size, masks=scheme)
    pairs = [(view.resize(row["frames"]), view.resize_masks(row["masks"])) for row in rows]
    frames, ids = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    return frames, ids
