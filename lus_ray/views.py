"""A view: how a clip becomes samples of equal size.

Letters: N frames of the clip, T frames of a sample, S samples a clip, H rows, W columns.
Why here: the decode-and-resize of training is part of the checkpoint, so that serving cannot
see other pixels than training saw.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch.nn.functional import interpolate


@dataclass(frozen=True)
class View:
    """Equally spaced frames of a clip, resized without keeping the aspect ratio.

    `num_frames` frames per sample (T); `height` and `width` in pixels; `num_samples` samples per
    clip at evaluation (S), with starts spread over the first interval (Gare 2022: 4 clips).
    """

    num_frames: int = 15
    height: int = 224
    width: int = 224
    num_samples: int = 4

    def resize(self, frames: UInt8[np.ndarray, "N H W"]) -> UInt8[np.ndarray, "N h w"]:
        """All frames at the view's size: bilinear, antialiased when it shrinks, grey 0-255."""
        if frames.shape[1:] == (self.height, self.width):
            return frames
        with warnings.catch_warnings():
            # Frames of a store are views that nobody may write to; nobody does.
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            pixels = torch.from_numpy(np.ascontiguousarray(frames))[:, None]
        small = interpolate(pixels, (self.height, self.width), mode="bilinear", antialias=True)
        return small[:, 0].numpy()

    def indices(self, num_available: int, start: float) -> Int64[np.ndarray, "T"]:
        """Frame numbers floor((start + j) N / T), 0 <= start < 1 (Gare 2022, section 3.2).

        A clip with fewer frames than the view asks for repeats frames in order.
        """
        steps = (start + np.arange(self.num_frames)) * num_available / self.num_frames
        return np.minimum(steps.astype(np.int64), num_available - 1)

    def sample(
        self, resized: UInt8[np.ndarray, "N h w"], rng: np.random.Generator
    ) -> UInt8[np.ndarray, "T h w"]:
        """One training sample with a random start in the first interval."""
        return resized[self.indices(len(resized), rng.random())]

    def samples(
        self, resized: UInt8[np.ndarray, "N h w"], num_samples: int = 0
    ) -> UInt8[np.ndarray, "S T h w"]:
        """Evaluation samples, with starts at (k + 0.5) / S of the first interval.

        `num_samples` above 0 stands in for the view's own number.
        """
        num_samples = num_samples or self.num_samples
        starts = (np.arange(num_samples) + 0.5) / num_samples
        return np.stack([resized[self.indices(len(resized), start)] for start in starts])
