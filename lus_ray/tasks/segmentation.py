"""Segmentation: a class for every pixel of a frame.

Shapes: N frames, C channels, H rows, W columns, K classes, B bins of confidence.
Source: Gare et al. 2021 (dense and sparse labels); Roy et al. 2020, section IV-C (markers).
Why pixels are counted at once: probabilities would fill the disk, and every metric is a formula on
counts, which add up over frames, clips and patients.
"""

from collections.abc import Callable, Iterator, Sequence
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
from lus_ray.metrics import calibration, segmentation
from lus_ray.nets.mc_dropout import mc_dropout
from lus_ray.tasks.task import Batch, GreyFrames, PredictionRow, Task


class Segmentation(Task):
    """The class of every pixel in a scheme of `clip.MASK_SCHEMES` (cross-entropy).

    Args:
        net: builds a network of images (N, C, H, W) to logits (N, K, H, W).
        channels: how often grey is repeated.
        centred: images run from -1 to 1 instead of 0 to 1.
        monitor: the validation metric that selects the epoch.
        boost: factors on class probabilities before the most probable class is taken, as in the
            released code of Roy 2020, where pixels of the last class keep it. Never tune them on
            test patients.
        smooth: side in pixels of a median filter over the expert's masks, used in evaluation but
            not in training; 0 for none.

    Raises:
        ArmError: the scheme, the metric, the view, `boost` or `smooth` cannot be used.
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
        if boost and len(boost) != len(MASK_SCHEMES[scheme]):
            raise ArmError(f"{len(boost)} boosts for {len(MASK_SCHEMES[scheme])} classes")
        if smooth and (smooth < 0 or smooth % 2 == 0):
            raise ArmError(f"masks are smoothed over {smooth} pixels; give an odd number, or 0")
        self.scheme: str = scheme
        self.view, self.monitor = view, monitor
        self.channels, self.centred = channels, centred
        self.boost, self.smooth = tuple(boost), smooth
        self.label, self.classes = f"{scheme} masks", MASK_SCHEMES[scheme]

    def forward(self, batch: Batch, network: str) -> dict[str, Tensor]:
        logits = self.net(self.to_images(batch["frames"]))
        return {"loss": cross_entropy(logits.float(), batch["masks"][:, 0].long())}

    def to_images(self, frames: GreyFrames) -> Float[Tensor, "N C H W"]:
        """Frames in [0, 1] as the input of the network."""
        images = frames.expand(-1, self.channels, -1, -1)
        images = images.contiguous(memory_format=torch.channels_last)
        return images * 2 - 1 if self.centred else images

    def activate(self, logits: Float[Tensor, "N K H W"]) -> Float[Tensor, "N K H W"]:
        """Logits as class probabilities, float32."""
        return torch.softmax(logits.float(), dim=1)

    def predict_probabilities(self, frames: GreyFrames) -> Iterator[Float[Tensor, "n K H W"]]:
        """Class probabilities, a few frames at a time.

        Raises:
            CellError: a probability is not finite.
        """
        for part in frames.split(self.samples_per_pass(frames[0].numel())):
            with torch.no_grad():
                probability = self.activate(self.net(self.to_images(part)))
            if not torch.isfinite(probability).all():
                raise CellError("a pixel has a probability that is not a number; train again")
            yield probability

    def predict(self, frames: GreyFrames) -> dict[str, np.ndarray]:
        """`masks` (N, H, W) uint8: the most probable class of every pixel."""
        masks = [self.classify_pixels(part) for part in self.predict_probabilities(frames)]
        return {"masks": torch.cat(masks).cpu().numpy()}

    def classify_pixels(self, probability: Float[Tensor, "N K H W"]) -> UInt8[Tensor, "N H W"]:
        classes = probability.argmax(dim=1)
        if self.boost:
            factors = torch.tensor(self.boost).to(probability)[:, None, None]
            last = len(self.boost) - 1
            boosted = (probability * factors).argmax(dim=1)
            classes = torch.where(classes == last, classes, boosted)
        return classes.to(torch.uint8)

    def count_pixels(
        self, frames: GreyFrames, truth: UInt8[np.ndarray, "N H W"]
    ) -> dict[str, np.ndarray]:
        """`counts` (N, K K) of each frame, truth by row, and `bins` (B, 3) of confidence."""
        counts, bins, done = [], [], 0
        for part in self.predict_probabilities(frames):
            probability = part.cpu().numpy()
            true = truth[done : done + len(probability)]
            predicted = self.classify_pixels(part).cpu().numpy()
            counts.append(segmentation.count_pixels(true, predicted, num_classes=len(self.classes)))
            bins.append(calibration.pixel_histograms(probability, true).sum(axis=0))
            done += len(probability)
        flat = np.concatenate(counts).reshape(len(truth), -1)
        return {"counts": flat.astype(np.int32), "bins": np.sum(bins, axis=0)}

    def estimate_uncertainty(
        self, frames: GreyFrames, *, num_samples: int = 40, seed: int = 0
    ) -> Float[np.ndarray, "N K H W"] | None:
        """Standard deviation by class and pixel over dropout samples; None without dropout."""
        if not any(getattr(part, "p", 0) for part in self.net.modules()):
            return None
        _, deviation = mc_dropout(
            self.net, self.to_images(frames), num_samples=num_samples, generator_seed=seed
        )
        return deviation.cpu().numpy()

    def prepare_truth(
        self, ids: UInt8[np.ndarray, "N H W"], row: PredictionRow
    ) -> UInt8[np.ndarray, "N H W"]:
        """The masks of a clip in the scheme of this task, smoothed for evaluation."""
        converted = masks.convert_masks(ids, row["mask_scheme"], self.scheme)
        return masks.smooth_masks(converted, self.smooth) if self.smooth else converted

    def target(self, row: PredictionRow) -> str | None:
        """The scheme of the clip's masks if it converts to this task's, or None."""
        scheme = row["mask_scheme"]
        converts = scheme == self.scheme or (scheme, self.scheme) in masks.DERIVED
        return scheme if converts else None

    def score(self, rows: Sequence[PredictionRow]) -> dict[str, float]:
        counts = [np.asarray(row["counts"]) for row in rows if row.get("counts") is not None]
        if not counts:
            return {"score": float("nan")}
        side = len(self.classes)
        scores = segmentation.score(np.concatenate(counts).reshape(-1, side, side), self.scheme)
        return {self.monitor: scores[self.monitor], "score": scores[self.monitor]}
