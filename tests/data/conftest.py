"""Small videos and images, written with PyAV."""

import os
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from lus_ray.data.decoding.decoder import FileDecoder

Writer = Callable[..., Path]


@pytest.fixture
def write_video(tmp_path: Path) -> Writer:
    """`write_video(name, frames, codec=..., pix_fmt=..., fps=..., format=...)` returns the path.

    Frames are grey (T, H, W) or colour (T, H, W, 3 or 4), uint8.
    """

    def write(
        name: str,
        frames: np.ndarray,
        *,
        codec: str = "libx264",
        pix_fmt: str = "yuv420p",
        fps: int = 25,
        format: str | None = None,
        options: dict[str, str] | None = None,
    ) -> Path:
        path = tmp_path / name
        kind = {3: "gray", 4: "rgb24"}[frames.ndim]
        kind = "rgba" if frames.shape[3:] == (4,) else kind
        with av.open(str(path), "w", format=format, options=options or {}) as container:
            stream = container.add_stream(codec, rate=fps)
            stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], pix_fmt
            for pixels in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format=kind)))
            container.mux(stream.encode())
        if os.geteuid() == 0:  # the encoder of AV1 makes a thread of root real-time
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        return path

    return write


@pytest.fixture(scope="module")
def decoder():
    """One decoder process for the tests of a module."""
    with FileDecoder() as shared:
        yield shared


@pytest.fixture
def ramp() -> np.ndarray:
    """Thirty frames of 48 x 64; frame t is grey value 40 + 5 t, its left half 20 darker."""
    frames = np.repeat(40 + 5 * np.arange(30, dtype=np.uint8), 48 * 64).reshape(30, 48, 64)
    frames[:, :, :32] -= 20
    return frames
