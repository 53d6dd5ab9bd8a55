"""A view: how a clip becomes samples of equal size, in training and in serving alike.

Letters: N frames of the clip, T frames of a sample, S samples a clip, H rows, W columns;
M frames of a track, K classes.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch.nn.functional import interpolate

from lus_ray.data import masks as class_ids
from lus_ray.errors import ArmError


@dataclass(frozen=True)
class View:
    """Equally spaced frames of a clip, resized without keeping the aspect ratio.

    `num_frames` per sample (T); `height` and `width` in pixels; `num_samples` per clip at
    evaluation (S), with starts spread over the first interval (Gare 2022: 4 clips); 0 makes every
    frame a sample of its own (T = 1, S = N). `aspect` (width / height) pads with black on all sides
    first, so that images of any shape keep their proportions (Roy 2020, segmentation: 1.3).
    Interpolation is linear, or `bicubic` (Roy 2020, segmentation).

    Raises:
        ArmError: `aspect` is out of range.
    """

    num_frames: int = 15
    height: int = 224
    width: int = 224
    num_samples: int = 4
    aspect: float | None = None
    bicubic: bool = False

    def __post_init__(self) -> None:
        if self.aspect is not None and not 0.01 <= self.aspect <= 100:
            raise ArmError(
                f"View: aspect is {self.aspect}; it needs width / height from 0.01 to 100, or None"
            )

    @property
    def is_per_frame(self) -> bool:
        return self.num_samples == 0

    def resize(self, frames: UInt8[np.ndarray, "N H W"]) -> UInt8[np.ndarray, "N h w"]:
        """All frames at the view's size: antialiased when it shrinks, grey cut off at 0 and 255."""
        frames = self.pad(frames)
        if frames.shape[1:] == (self.height, self.width):
            return frames
        with warnings.catch_warnings():
            # Frames of a store are views that nobody may write to; nobody does.
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            pixels = torch.from_numpy(np.ascontiguousarray(frames))[:, None]
        mode = "bicubic" if self.bicubic else "bilinear"
        small = interpolate(pixels, (self.height, self.width), mode=mode, antialias=True)
        return small[:, 0].numpy()

    def resize_masks(self, masks: UInt8[np.ndarray, "N H W"]) -> UInt8[np.ndarray, "N h w"]:
        """All class ids where `resize` puts their pixels: nearest, 0 in the padding."""
        return class_ids.resize_masks(self.pad(masks), self.height, self.width)

    def padding(self, height: int, width: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Black rows (above, below) and columns (left, right); an odd one comes below or right."""
        if self.aspect is None:
            return (0, 0), (0, 0)
        rows = max(0, int(width / self.aspect) - height)
        columns = max(0, int(height * self.aspect) - width)
        return (rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2)

    def pad(self, images: UInt8[np.ndarray, "N H W"]) -> UInt8[np.ndarray, "N p q"]:
        """Images with their `padding`; the same array where there is none."""
        around = self.padding(*images.shape[1:])
        return np.pad(images, ((0, 0), *around)) if any(map(any, around)) else images

    def frame_indices(self, num_available: int, start: float) -> Int64[np.ndarray, "T"]:
        """Frame numbers floor((start + j) N / T), 0 <= start < 1 (Gare 2022, section 3.2)."""
        steps = (start + np.arange(self.num_frames)) * num_available / self.num_frames
        return np.minimum(steps.astype(np.int64), num_available - 1)

    def sample(
        self, resized: UInt8[np.ndarray, "N h w"], rng: np.random.Generator
    ) -> UInt8[np.ndarray, "T h w"]:
        """One training sample with a random start in the first interval."""
        return resized[self.frame_indices(len(resized), rng.random())]

    def samples(
        self, resized: UInt8[np.ndarray, "N h w"], num_samples: int = 0
    ) -> UInt8[np.ndarray, "S T h w"]:
        """Evaluation samples, starting at (k + 0.5) / S of the first interval.

        `num_samples` above 0 overrides that of the view.
        """
        return resized[self.sample_indices(len(resized), num_samples)]

    def resize_samples(self, frames: UInt8[np.ndarray, "N H W"]) -> UInt8[np.ndarray, "S T h w"]:
        """The evaluation samples of frames of any size; frames in no sample are not resized."""
        chosen = self.sample_indices(len(frames))
        needed, positions = np.unique(chosen, return_inverse=True)
        return self.resize(frames[needed])[positions.reshape(chosen.shape)]

    def sample_indices(self, num_available: int, num_samples: int = 0) -> Int64[np.ndarray, "S T"]:
        """Frame numbers of the evaluation samples."""
        num_samples = num_samples or self.num_samples
        if num_samples == 0:
            return np.arange(num_available)[:, None]
        starts = (np.arange(num_samples) + 0.5) / num_samples
        return np.stack([self.frame_indices(num_available, start) for start in starts])


@dataclass(frozen=True)
class Track:
    """Outputs of an earlier arm for each frame of a clip: all, or equally spaced frames.

    `max_frames` above 0 keeps at most so many, from the middles of equal parts of the clip.
    """

    max_frames: int = 0

    def sample(self, outputs: Float[np.ndarray, "M K"]) -> Float[np.ndarray, "m K"]:
        if not 0 < self.max_frames < len(outputs):
            return outputs
        middles = (np.arange(self.max_frames) + 0.5) * len(outputs) / self.max_frames
        return outputs[middles.astype(np.int64)]
