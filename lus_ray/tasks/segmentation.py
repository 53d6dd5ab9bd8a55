"""Segmentation: a class for every pixel of a frame.

Letters: N frames, C channels, H rows, W columns, K classes, B bins of confidence.
Source: Gare et al. 2021 (dense and sparse labels); Roy et al. 2020, section IV-C (markers).
Why predictions are counted at once: probabilities of pixels fill a disk in no time, while every
metric of the papers is a formula on pixel counts, and those of frames, clips and patients add up.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lus_ray.clip import MASK_SCHEMES
from lus_ray.data import masks
from lus_ray.data.transforms.view import View
from lus_ray.errors import ArmError, CellError
from lus_ray.metrics import pixel_calibration, segmentation
from lus_ray.nets.mc_dropout import mc_dropout
from lus_ray.tasks.task import Batch, Task

CHUNK_PIXELS = 1 << 21
"""Frames are outlined in chunks of about so many pixels."""


class Segmentation(Task):
    """The class of every pixel in a scheme of `clip.MASK_SCHEMES` (cross-entropy).

    `net` builds a network of images (N, C, H, W) to logits (N, K, H, W); grey is repeated in
    `channels`; `centred` images run from -1 to 1, others from 0 to 1. `monitor` is the validation
    metric of `overlap.METRICS` that picks the epoch. `boost` are factors on the probabilities by
    class before the most probable one is taken, as in the released code of Roy 2020, where pixels
    of the last class keep it; none by default, and never to be chosen on a test side. `smooth` is
    the side of a median filter over the expert's masks, in pixels of the view, wherever something
    is held against them; learning is from the masks as they were drawn. 0 leaves them so.
    """

    def __init__(
        self,
        net: Callable[..., nn.Module],
        scheme: str,
        view: View = View(num_frames=1, num_samples=0),  # noqa: B008  (frozen)
        channels: int = 1,
        centred: bool = False,
        monitor: str = "mean_iou",
        boost: Sequence[float] = (),
        smooth: int = 0,
    ) -> None:
        super().__init__()
        if not view.is_per_frame or view.num_frames != 1:
            raise ArmError("segmentation needs a View with num_frames=1 and num_samples=0")
        if scheme not in MASK_SCHEMES or monitor not in segmentation.METRICS[scheme]:
            known = segmentation.METRICS.get(scheme, tuple(MASK_SCHEMES))
            raise ArmError(f"no scheme {scheme!r} with metric {monitor!r}; use one of {known}")
        self.net: Any = net(num_outputs=len(MASK_SCHEMES[scheme]))
        self.view, self.monitor = view, monitor
        self.scheme: str = scheme
        if boost and len(boost) != len(MASK_SCHEMES[scheme]):
            raise ArmError(f"{len(boost)} boosts for {len(MASK_SCHEMES[scheme])} classes")
        if smooth and (smooth < 0 or smooth % 2 == 0):
            raise ArmError(f"truth is smoothed over {smooth} pixels; give an odd number, or 0")
        self.channels, self.centred, self.boost = channels, centred, tuple(boost)
        self.smooth = smooth
        self.label, self.classes = f"{scheme} masks", MASK_SCHEMES[scheme]

    def forward(self, batch: Batch, network: str) -> dict[str, Tensor]:
        """Mean cross-entropy over the pixels of the batch."""
        logits = self.net(self.to_images(batch["frames"]))
        return {"loss": cross_entropy(logits.float(), batch["masks"][:, 0].long())}

    def to_images(self, frames: Float[Tensor, "N 1 H W"]) -> Float[Tensor, "N C H W"]:
        """Frames in [0, 1] as the network takes them."""
        images = frames.expand(-1, self.channels, -1, -1)
        images = images.contiguous(memory_format=torch.channels_last)
        return images * 2 - 1 if self.centred else images

    def activate(self, logits: Float[Tensor, "N K H W"]) -> Float[Tensor, "N K H W"]:
        """Class probabilities, float32, from what the network gives."""
        return torch.softmax(logits.float(), dim=1)

    def predict_probabilities(
        self, frames: Float[Tensor, "N 1 H W"]
    ) -> Iterator[Float[Tensor, "n K H W"]]:
        """Class probabilities, a few frames at a time.

        Raises:
            CellError: a probability is no number.
        """
        for part in frames.split(self.samples_per_pass(frames[0].numel())):
            with torch.no_grad():
                found = self.activate(self.net(self.to_images(part)))
            if not torch.isfinite(found).all():
                raise CellError("a pixel has a probability that is not a number; train again")
            yield found

    def samples_per_pass(self, num_pixels: int) -> int:
        """Frames of about `CHUNK_PIXELS` in all."""
        return max(1, CHUNK_PIXELS // num_pixels)

    def predict(self, frames: Float[Tensor, "N 1 H W"]) -> dict[str, np.ndarray]:
        """`masks` (N, H, W) uint8: the most probable class of every pixel."""
        said = [self.classify_pixels(part) for part in self.predict_probabilities(frames)]
        return {"masks": torch.cat(said).cpu().numpy()}

    def classify_pixels(self, probability: Float[Tensor, "N K H W"]) -> UInt8[Tensor, "N H W"]:
        """The class of every pixel."""
        plain = probability.argmax(dim=1)
        if self.boost:
            factors = torch.tensor(self.boost).to(probability)[:, None, None]
            last = len(self.boost) - 1
            plain = torch.where(plain == last, plain, (probability * factors).argmax(dim=1))
        return plain.to(torch.uint8)

    def count_pixels(
        self, frames: Float[Tensor, "N 1 H W"], truth: UInt8[np.ndarray, "N H W"]
    ) -> dict[str, np.ndarray]:
        """`counts` (N, K K) of each frame, truth by row, and `bins` (B, 3), their confidences."""
        counts, bins, done = [], [], 0
        for part in self.predict_probabilities(frames):
            chance = part.cpu().numpy()
            true = truth[done : done + len(chance)]
            said = self.classify_pixels(part).cpu().numpy()
            counts.append(segmentation.count_pixels(true, said, num_classes=len(self.classes)))
            bins.append(pixel_calibration.pixel_histograms(chance, true).sum(axis=0))
            done += len(chance)
        flat = np.concatenate(counts).reshape(len(truth), -1)
        return {"counts": flat.astype(np.int32), "bins": np.sum(bins, axis=0)}

    def estimate_uncertainty(
        self, frames: Float[Tensor, "N 1 H W"], *, num_samples: int = 40, seed: int = 0
    ) -> Float[np.ndarray, "N K H W"] | None:
        """Standard deviation of each class and pixel over samples of dropout; None without any."""
        if not any(getattr(part, "p", 0) for part in self.net.modules()):
            return None
        _, deviation = mc_dropout(
            self.net, self.to_images(frames), num_samples=num_samples, generator_seed=seed
        )
        return deviation.cpu().numpy()

    def prepare_truth(
        self, ids: UInt8[np.ndarray, "N H W"], row: Mapping[str, Any]
    ) -> UInt8[np.ndarray, "N H W"]:
        """The masks of a clip in the scheme of this task, smoothed where it says so."""
        drawn = masks.convert_masks(ids, row["mask_scheme"], self.scheme)
        return masks.smooth_masks(drawn, self.smooth) if self.smooth else drawn

    def target(self, row: Mapping[str, Any]) -> str | None:
        """The scheme of the clip's masks where they can be read in this task's, or None."""
        given = row["mask_scheme"]
        fits = given == self.scheme or (given, self.scheme) in masks.DERIVED
        return given if fits else None

    def score(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """The monitored metric and pixel accuracy over all frames of the rows."""
        counts = [np.asarray(row["counts"]) for row in rows if row.get("counts") is not None]
        if not counts:
            return {"score": float("nan")}
        side = len(self.classes)
        found = segmentation.score(np.concatenate(counts).reshape(-1, side, side), self.scheme)
        return {self.monitor: found[self.monitor], "score": found[self.monitor]}
