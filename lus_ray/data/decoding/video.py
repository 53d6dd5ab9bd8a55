"""From an open file to grey frames: what the decoder's fork does.

Letters: H rows, W columns; small h and w after shrinking.
The request is a dict with the fields of `decode.Limits`, `max_side`, and `suffix`, the extension
of the file's name in lower case.
"""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, BinaryIO

import av
import numpy as np
from av.error import FFmpegError
from jaxtyping import UInt8

from lus_ray.data.decoding import file_types
from lus_ray.errors import DecodeError

MAX_SHORTFALL = 0.02
"""A container may announce this share of frames more than decode (one frame is always allowed)."""
MAX_FPS = 1000.0

_SAMPLINGS = ("420p", "422p", "444p", "440p")
LUMA_FIRST = frozenset(
    ["nv12", "nv21", *(prefix + kind for prefix in ("yuv", "yuvj") for kind in _SAMPLINGS)]
)
"""Pixel formats whose first plane is 8-bit luma."""
FULL_RANGE = 2
"""FFmpeg's code for luma that spans 0-255; where nothing is said, video luma spans 16-235."""
WIDENED = np.clip(np.rint((np.arange(256) - 16) * (255 / 219)), 0, 255).astype(np.uint8)


def write_frames(file: BinaryIO, out: BinaryIO, request: dict[str, Any]) -> dict[str, Any]:
    """Write the grey frames of one file to `out`, raw, and return what is known of them.

    Raises:
        DecodeError: the file is no video or image, is damaged, or exceeds the request's limits.
        FFmpegError: the container cannot be opened.
    """
    kind = file_types.known(file)
    notes = []
    if request["suffix"] not in kind.extensions:
        notes.append(f"its name ends in {request['suffix']!r}, but it holds {kind.name}")
    with av.open(file, format=kind.demuxer, metadata_errors="replace") as container:
        if not container.streams.video:
            raise DecodeError("holds no video stream")
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        check_size(stream.codec_context.height, stream.codec_context.width, request)
        num_declared = 1 if kind.still else int(stream.frames)
        if num_declared > request["num_frames"]:
            most = request["num_frames"]
            raise DecodeError(f"declares {num_declared} frames; at most {most}", "refused")
        frames = Frames(container, stream, request, notes)
        num_frames = 0
        for pixels in frames:
            num_frames += 1
            if num_frames > request["num_frames"]:
                raise DecodeError(f"holds more than {request['num_frames']} frames", "refused")
            if num_frames * pixels.size > request["stored_bytes"]:
                size = request["stored_bytes"] >> 20
                raise DecodeError(
                    f"needs more than {size} MiB as grey frames; cut or shrink it", "refused"
                )
            out.write(np.ascontiguousarray(pixels).data)
        check_count(num_frames, num_declared, frames.damage, notes)
        fps = None if kind.still or num_frames < 2 else _fps(stream.average_rate, notes)
    return {
        "num_frames": num_frames,
        "shape": frames.shape,
        "native": frames.native,
        "scale": frames.scale,
        "fps": fps,
        "num_declared": num_declared or None,
        "format": kind.name,
        "notes": notes,
    }


class Frames:
    """Grey frames of a stream, upright, at most `max_side` pixels on a side.

    After iteration `native` is (height, width) of the upright picture as coded, `shape` that of
    the frames, `scale` the quotient of their long sides, and `damage` FFmpeg's complaint, if any.
    """

    def __init__(self, container: Any, stream: Any, request: dict[str, Any], notes: list) -> None:
        self.container, self.stream, self.request, self.notes = container, stream, request, notes
        self.native: tuple[int, int] | None = None
        self.shape: tuple[int, int] | None = None
        self.scale = 1.0
        self.damage = ""

    def __iter__(self) -> Iterator[UInt8[np.ndarray, "H W"]]:
        decoded = self.container.decode(self.stream)
        while True:
            try:
                frame = next(decoded, None)
            except FFmpegError as error:
                self.damage = error.strerror or type(error).__name__
                return
            if frame is None:
                return
            yield self._upright(frame)

    def _upright(self, frame: Any) -> UInt8[np.ndarray, "H W"]:
        check_size(frame.height, frame.width, self.request)
        first = self.native is None
        turns, odd = divmod(round(frame.rotation) % 360, 90)
        pixels = shrink(grey(frame), self.request["max_side"])
        pixels = np.rot90(pixels, 0 if odd else turns)
        native = (
            (frame.width, frame.height) if turns % 2 and not odd else (frame.height, frame.width)
        )
        if not first and native != self.native:
            raise DecodeError(f"the frame size changes from {self.native} to {native} within it")
        if first:
            self.native, self.shape = native, pixels.shape
            self.scale = max(pixels.shape) / max(native)
            self._note_geometry(frame, turns, odd)
        return pixels

    def _note_geometry(self, frame: Any, turns: int, odd: int) -> None:
        if odd:
            self.notes.append(f"asks to be turned by {frame.rotation} degrees; left as it is")
        elif turns:
            self.notes.append(f"turned by {90 * turns} degrees, as its container asks")
        aspect = self.stream.sample_aspect_ratio
        if aspect and aspect != 1:
            self.notes.append(f"its pixels are {aspect} as wide as high; kept as stored")


def grey(frame: Any) -> UInt8[np.ndarray, "H W"]:
    """Luma in full range 0-255 at 8 bits; what is transparent is black.

    The first plane of 8-bit YUV is the luma already; taking it through a table of 256 entries
    gives what FFmpeg's converter gives, bit by bit, in a fifth of the time.
    """
    if frame.format.name in LUMA_FIRST:
        plane = frame.planes[0]
        luma = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
        luma = luma[: frame.height, : frame.width]
        full_range = frame.color_range == FULL_RANGE or frame.format.name.startswith("yuvj")
        return luma if full_range else np.take(WIDENED, luma)
    if not any(component.is_alpha for component in frame.format.components):
        return frame.to_ndarray(format="gray")
    rgba = frame.to_ndarray(format="rgba")
    luma = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgba[..., :3]), format="rgb24")
    alpha = rgba[..., 3].astype(np.uint16)
    return ((luma.to_ndarray(format="gray") * alpha + 127) // 255).astype(np.uint8)


def shrink(pixels: UInt8[np.ndarray, "H W"], max_side: int) -> UInt8[np.ndarray, "h w"]:
    """Area-averaged so that the long side has `max_side` pixels; never enlarged."""
    height, width = pixels.shape
    scale = max_side / max(height, width)
    if scale >= 1:
        return pixels
    size = {"height": max(1, round(height * scale)), "width": max(1, round(width * scale))}
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="gray")
    return frame.reformat(**size, interpolation="AREA").to_ndarray(format="gray")


def check_size(height: int, width: int, request: dict[str, Any]) -> None:
    """Refuse a frame of more pixels than may be decoded."""
    if height * width > request["frame_pixels"]:
        raise DecodeError(
            f"frames of {height} x {width} pixels; at most {request['frame_pixels']} are decoded",
            "refused",
        )


def check_count(num_frames: int, num_declared: int, damage: str, notes: list[str]) -> None:
    """Refuse a clip that lost frames; where the container announces no count, any damage counts."""
    cause = f" ({damage})" if damage else ""
    if num_frames == 0:
        raise DecodeError(f"no frame can be decoded{cause}")
    if not num_declared:
        notes.append("its container does not count frames: a truncated copy would not be noticed")
    missing = num_declared - num_frames
    if missing > max(1, MAX_SHORTFALL * num_declared):
        raise DecodeError(f"truncated: {num_frames} of {num_declared} frames decode{cause}")
    if damage and not num_declared:
        raise DecodeError(f"damaged after {num_frames} frames{cause}")
    if missing > 0 or damage:
        notes.append(f"repaired: {num_frames} of {num_declared} frames decode{cause}")


def _fps(rate: Fraction | None, notes: list[str]) -> float | None:
    if rate is None or not 0 < rate <= MAX_FPS:
        notes.append(f"its frame rate is {rate}; kept as not known")
        return None
    return float(rate)
