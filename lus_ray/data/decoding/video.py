"""Decode an open video or image file to grey frames, inside the decoder's fork.

Shapes: H rows, W columns; h and w after shrinking.
A request is a dict with the fields of `DecodeLimits`, `max_side`, and `suffix`, the extension of
the file name in lower case.
"""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any, BinaryIO

import av
import av.logging
import numpy as np
from av.video.reformatter import VideoReformatter
from jaxtyping import UInt8

from lus_ray.data.decoding.damage import MAX_SHORTFALL, StrictDecoder, drop_damaged
from lus_ray.data.decoding.file_types import MAX_FPS, MPEG_VIDEO, FileFormat
from lus_ray.data.decoding.orientation import Orientation, matrix_of, parse_matrix
from lus_ray.data.decoding.streams import choose_stream, count_lost, count_shown, note_gaps
from lus_ray.errors import DecodeError

_SAMPLINGS = ("420p", "422p", "444p", "440p")
LUMA_FIRST = frozenset(
    ["nv12", "nv21", *(prefix + kind for prefix in ("yuv", "yuvj") for kind in _SAMPLINGS)]
)
"""Pixel formats whose first plane is 8-bit luma."""
CONVERTER, SHRINKER = VideoReformatter(), VideoReformatter()
FULL_RANGE = 2
"""FFmpeg's code for luma that spans 0-255; by default video luma spans 16-235."""
WIDENED = np.clip(np.rint((np.arange(256) - 16) * (255 / 219)), 0, 255).astype(np.uint8).tobytes()


def write_frames(
    file: BinaryIO, out: BinaryIO, request: dict[str, Any], kind: FileFormat, notes: list[str]
) -> dict[str, Any]:
    """Write the raw grey frames of one file to `out` and return the report.

    Raises:
        DecodeError: the file is no video or image, is damaged, or exceeds the request's limits.
        FFmpegError: the container cannot be opened.
    """
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)
    with (
        av.logging.Capture() as log,
        av.open(file, format=kind.demuxer, metadata_errors="replace") as container,
    ):
        stream = choose_stream(container, notes)
        num_declared = count_shown(stream, kind, notes)
        context = stream.codec_context
        check_declared(context.height, context.width, num_declared, request)
        decoder = StrictDecoder(container, stream, log)
        frames = VideoFrames(decoder, stream, request, notes)
        write_raw(frames, out, request)
        num_frames, removed, num_expected = drop_damaged(decoder, out, num_declared, notes)
        if not num_declared:
            times = {number: decoder.packets[number].pts for number in decoder.shown_order()}
            cut_off = decoder.find_cut_off()
            if kind is not MPEG_VIDEO:  # which has no time stamps
                note_gaps([times[number] for number in times if number not in cut_off], notes)
            num_lost = count_lost(container, stream, kind, [*times.values()], decoder.end)
            if num_lost or (num_lost is not None and not decoder.container_cause):
                num_expected = num_frames + num_lost
        check_count(num_frames, num_expected, decoder.container_cause, notes)
        fps = None if kind.still or num_frames < 2 else _fps(stream.average_rate, notes)
    return {
        "num_frames": num_frames,
        "shape": frames.shape,
        "native": frames.native,
        "scale": frames.scale,
        "fps": fps,
        "num_declared": num_declared or None,
        "removed": removed,
        "format": kind.name,
        "notes": notes,
    }


def write_raw(
    frames: Iterable[UInt8[np.ndarray, "_ _"]], out: BinaryIO, request: dict[str, Any]
) -> int:
    """Write frames of one size within the request's limits and return their number."""
    num_frames = 0
    for num_frames, pixels in enumerate(frames, 1):
        if num_frames > request["num_frames"]:
            raise DecodeError(f"holds more than {request['num_frames']} frames", "refused")
        if num_frames * pixels.size > request["stored_bytes"]:
            size = request["stored_bytes"] >> 20
            reason = f"needs more than {size} MiB as grey frames; cut or shrink it"
            raise DecodeError(reason, "refused")
        out.write(np.ascontiguousarray(pixels).data)
    return num_frames


class VideoFrames:
    """Grey frames of a stream, upright, at most `max_side` pixels on a side.

    After iteration `native` is (height, width) of the upright image as coded, `shape` that of the
    frames, `scale` the ratio of their long sides.
    """

    def __init__(
        self, decoded: Iterable[Any], stream: Any, request: dict[str, Any], notes: list[str]
    ) -> None:
        self.decoded, self.stream, self.request, self.notes = decoded, stream, request, notes
        self.native: tuple[int, int] | None = None
        self.shape: tuple[int, int] | None = None
        self.scale = 1.0
        self.matrix: bytes | None = None
        self.rotation = 0
        self.orientation = Orientation()

    def __iter__(self) -> Iterator[UInt8[np.ndarray, "H W"]]:
        for frame in self.decoded:
            yield self._upright(frame)

    def _upright(self, frame: Any) -> UInt8[np.ndarray, "H W"]:
        check_size(frame.height, frame.width, self.request)
        is_first = self.native is None
        # Side data and their frame refer to each other: reading those of every frame would keep
        # hundreds of frames in memory. Only a mirror that begins within the clip is missed so.
        if is_first or frame.rotation != self.rotation:
            self._check_matrix(matrix_of(frame), is_first)
            self.rotation = frame.rotation
        pixels = shrink_frame(to_grey(frame), self.request["max_side"])
        pixels = self.orientation.apply(pixels)
        native = (frame.height, frame.width)
        if self.orientation.is_transposed:
            native = native[::-1]
        if not is_first and native != self.native:
            raise DecodeError(f"the frame size changes from {self.native} to {native} within it")
        if is_first:
            self.native, self.shape = native, pixels.shape
            self.scale = max(pixels.shape) / max(native)
            self._note_geometry()
        return pixels

    def _check_matrix(self, matrix: bytes | None, is_first: bool) -> None:
        """Take the matrix of the first frame; that of an SEI message holds until the next one."""
        if matrix is None or matrix == self.matrix:
            return
        orientation = parse_matrix(matrix)
        if not is_first and orientation != self.orientation:
            reason = "its display matrix changes within it; cut it there or export it upright"
            raise DecodeError(reason, "refused")
        self.matrix, self.orientation = matrix, orientation

    def _note_geometry(self) -> None:
        if description := self.orientation.description:
            self.notes.append(f"{description}, as its container asks")
        aspect = self.stream.sample_aspect_ratio
        if aspect and aspect != 1:
            self.notes.append(f"its pixels have an aspect ratio of {aspect}; kept as stored")


def to_grey(frame: Any) -> UInt8[np.ndarray, "H W"]:
    """Luma in full range 0-255 at 8 bits; transparent is black.

    The table for 8-bit YUV gives the bits of FFmpeg's converter in a fifth of the time.
    """
    if frame.format.name in LUMA_FIRST:
        plane = frame.planes[0]
        luma = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
        luma = luma[: frame.height, : frame.width]
        full_range = frame.color_range == FULL_RANGE or frame.format.name.startswith("yuvj")
        return luma if full_range else _widen(luma)
    if not any(component.is_alpha for component in frame.format.components):
        return _convert(frame, "gray")
    rgba = _convert(frame, "rgba")
    luma = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgba[..., :3]), format="rgb24")
    alpha = rgba[..., 3].astype(np.uint16)
    return ((_convert(luma, "gray") * alpha + 127) // 255).astype(np.uint8)


def _widen(luma: UInt8[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W"]:
    return np.frombuffer(luma.tobytes().translate(WIDENED), np.uint8).reshape(luma.shape)


def _convert(frame: Any, layout: str) -> UInt8[np.ndarray, "H W ..."]:
    """One converter for all frames: one of each frame would start and keep threads of its own."""
    return CONVERTER.reformat(frame, format=layout, threads=1).to_ndarray()


def shrink_frame(pixels: UInt8[np.ndarray, "H W"], max_side: int) -> UInt8[np.ndarray, "h w"]:
    """Area-average to a long side of at most `max_side` pixels; never enlarge."""
    height, width = pixels.shape
    scale = max_side / max(height, width)
    if scale >= 1:
        return pixels
    size = {"height": max(1, round(height * scale)), "width": max(1, round(width * scale))}
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="gray")
    return SHRINKER.reformat(frame, **size, interpolation="AREA", threads=1).to_ndarray()


def check_declared(height: int, width: int, num_frames: int, request: dict[str, Any]) -> None:
    """Refuse a file whose header exceeds the limits, before any pixel is decoded."""
    check_size(height, width, request)
    if num_frames > (most := request["num_frames"]):
        raise DecodeError(f"declares {num_frames} frames; at most {most}", "refused")


def check_size(height: int, width: int, request: dict[str, Any]) -> None:
    if height * width > (most := request["frame_pixels"]):
        reason = f"frames of {height} x {width} pixels; at most {most} are decoded"
        raise DecodeError(reason, "refused")


def check_count(num_frames: int, num_declared: int, damage: str, notes: list[str]) -> None:
    """Refuse a clip that lost frames; where the container declares no count, any damage counts."""
    cause = f" ({damage})" if damage else ""
    if num_frames == 0:
        raise DecodeError(f"no frame can be decoded{cause}")
    if not num_declared:
        notes.append("its container does not count frames: a truncated copy would not be noticed")
    missing = num_declared - num_frames
    if missing > max(1, MAX_SHORTFALL * num_declared):
        raise DecodeError(
            f"truncated: {num_frames} of {num_declared} frames decode{cause}; copy it again"
        )
    if damage and not num_declared:
        raise DecodeError(f"damaged: only {num_frames} frames decode{cause}; copy it again")
    if missing > 0 or damage:
        notes.append(f"repaired: {num_frames} of {num_declared} frames decode{cause}")


def _fps(rate: Fraction | None, notes: list[str]) -> float | None:
    if rate is None or not 0 < rate <= MAX_FPS:
        notes.append(f"its frame rate is {rate}; stored as unknown")
        return None
    return float(rate)
