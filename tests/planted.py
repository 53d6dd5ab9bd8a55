"""Synthetic clips, and copies altered as between two data sets."""

import io
from collections.abc import Callable

import av
import numpy as np
import torch
from jaxtyping import UInt8
from scipy import ndimage
from torch.nn.functional import interpolate

Frames = UInt8[np.ndarray, "T H W"]


def tissue(seed: int, num_frames: int = 40, side: int = 160) -> Frames:
    """A fan of texture that rises and falls, with noise and a label that never moves."""
    rng = np.random.default_rng(seed)
    texture = np.zeros((side + 16, side + 16))
    for sigma in (1.5, 3, 8):
        layer = ndimage.gaussian_filter(rng.standard_normal(texture.shape), sigma)
        texture += layer / layer.std()
    rows, columns = np.mgrid[:side, :side]
    fan = np.abs(columns - side / 2) < 0.2 * side + 0.4 * rows
    phase = rng.uniform(0, 2 * np.pi)
    frames = np.zeros((num_frames, side, side))
    for time in range(num_frames):
        rise = 8 + 4 * np.sin(2 * np.pi * time / 30 + phase)
        moved = ndimage.shift(texture, (-rise, 0), order=1)[:side, :side]
        frames[time] = fan * (90 + 30 * moved + rng.normal(0, 6, moved.shape))
    frames[:, 4:12, 4:40] = 255
    return np.clip(frames, 0, 255).astype(np.uint8)


def encoded(frames: Frames, codec: str, **options: str) -> Frames:
    """The frames after a lossy codec; odd sides lose a row or a column."""
    frames = np.ascontiguousarray(frames[:, : frames.shape[1] // 2 * 2, : frames.shape[2] // 2 * 2])
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.height, stream.width = frames.shape[1:]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            grey = av.VideoFrame.from_ndarray(frame, format="gray")
            container.mux(stream.encode(grey.reformat(format="yuv420p")))
        container.mux(stream.encode())
    file.seek(0)
    with av.open(file) as container:
        return np.stack([frame.to_ndarray(format="gray") for frame in container.decode(video=0)])


def h264(frames: Frames, rng: np.random.Generator) -> Frames:
    return encoded(frames, "libx264", crf=str(rng.integers(24, 36)))


def mpeg4(frames: Frames, rng: np.random.Generator) -> Frames:
    return encoded(frames, "mpeg4", b=str(rng.integers(300, 900) * 1000))


def cropped(frames: Frames, rng: np.random.Generator, share: float | None = None) -> Frames:
    """Without 5 to 20 % of the height and of the width, taken from both ends by chance."""
    cut = []
    for length in frames.shape[1:]:
        lost = int(length * (share or rng.uniform(0.05, 0.2)))
        first = int(rng.integers(0, lost + 1))
        cut.append(slice(first, first + length - lost))
    return frames[:, *cut]


def cropped_by_a_fifth(frames: Frames, rng: np.random.Generator) -> Frames:
    return cropped(frames, rng, share=0.2)


def mirrored(frames: Frames, rng: np.random.Generator) -> Frames:
    return frames[:, :, ::-1]


def rescaled(frames: Frames, rng: np.random.Generator) -> Frames:
    scale = rng.uniform(0.5, 1.5)
    size = [round(length * scale) for length in frames.shape[1:]]
    pixels = torch.from_numpy(np.ascontiguousarray(frames))[:, None]
    return interpolate(pixels, size, mode="bilinear", antialias=True)[:, 0].numpy()


def brightened(frames: Frames, rng: np.random.Generator) -> Frames:
    gamma, gain, offset = rng.uniform(0.6, 1.6), rng.uniform(0.7, 1.3), rng.uniform(-20, 20)
    return np.clip(255 * (frames / 255) ** gamma * gain + offset, 0, 255).astype(np.uint8)


def retimed(frames: Frames, rng: np.random.Generator) -> Frames:
    return frames[np.arange(0, len(frames), rng.uniform(0.6, 2.0)).astype(int)]


def trimmed(frames: Frames, rng: np.random.Generator) -> Frames:
    kept = max(1, int(len(frames) * rng.uniform(0.5, 0.8)))
    first = int(rng.integers(0, len(frames) - kept + 1))
    return frames[first : first + kept]


CHANGES: tuple[Callable[[Frames, np.random.Generator], Frames], ...] = (
    *(h264, mpeg4, cropped, cropped_by_a_fifth),
    *(mirrored, rescaled, brightened, retimed, trimmed),
)
