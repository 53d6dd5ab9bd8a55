"""Segmentation trained on labelled frames with the grey levels of another domain.

The baseline of networks that translate images; it costs next to nothing.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from lus_ray.data.transforms import intensity_matching
from lus_ray.data.transforms.view import View
from lus_ray.errors import ArmError
from lus_ray.tasks.binary_segmentation import BinarySegmentation
from lus_ray.tasks.task import Batch

MATCHING = {
    "histogram": intensity_matching.match_histogram,
    "fourier": intensity_matching.match_fourier,
}


class MatchedSegmentation(BinarySegmentation):
    """Binary segmentation that trains on frames matched to the batch's unlabelled `target_frames`.

    Partners are sampled with torch's CPU generator, so that a resumed run repeats them. Frames are
    predicted without matching.
    """

    def __init__(
        self,
        net: Callable[..., nn.Module],
        how: Literal["histogram", "fourier"] = "histogram",
        scheme: str = "bline",
        num_outputs: int = 1,
        view: View = View(num_frames=1, num_samples=0),  # noqa: B008  (frozen)
        channels: int = 1,
        centred: bool = False,
        monitor: str = "dice",
    ) -> None:
        if how not in MATCHING:
            raise ArmError(f"no matching {how!r}; use one of {tuple(MATCHING)}")
        super().__init__(net, scheme, num_outputs, view, channels, centred, monitor)
        self.how = how

    def forward(self, batch: Batch, network: str) -> dict[str, Tensor]:
        if "target_frames" not in batch:
            raise ArmError("no target_frames in a batch; give the arm Rows(unlabelled=...)")
        generator = torch.Generator().manual_seed(int(torch.randint(1 << 31, ())))
        matched = MATCHING[self.how](batch["frames"], batch["target_frames"], generator)
        return super().forward({**batch, "frames": matched}, network)
