"""Decode one video, image or DICOM file in a process of its own, under limits.

    with FileDecoder() as decoder:
        decoded = decoder.decode(Path("clip.mp4"))

A crash of the decoder, a truncated file, a decompression bomb or an HTML page fails that file
alone: the caller gets a one-line `DecodeError`. Shapes: T frames, H rows, W columns.
The content determines the format, not the file name. Grey is luma in full range; transparent is
black. Frames are turned and mirrored upright as the file asks. Non-square pixels and varying frame
times are kept. A clip has the frames that a player shows: an edit list is followed, cover art
skipped. Frames that are damaged or missing refuse it where they exceed one frame and 2 %; a smaller
loss is `repaired`.
"""

import os
import signal
import stat
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from lus_ray.errors import DecodeError
from lus_ray.storage.sandbox import Sandbox, open_scratch, read_result


@dataclass(frozen=True)
class DecodeLimits:
    """Limits beyond which a file is refused.

    `frame_pixels` of one coded frame, `num_frames` of a clip, `stored_bytes` of its grey frames
    after shrinking, `seconds` of wall time, `memory_bytes` of address space of the child.
    """

    frame_pixels: int = 2**25
    num_frames: int = 10_000
    stored_bytes: int = 2**29
    seconds: float = 60.0
    memory_bytes: int = 2**31


@dataclass(frozen=True)
class DecodedVideo:
    """A decoded file.

    `frames` grey 0-255; `height` and `width` of the upright image before shrinking; `scale` is
    stored over native size, so divide millimetres per pixel by it. `fps` is None for still images
    and where the container has none; `num_declared` is the container's own frame count.
    `mm_per_pixel` of `frames` is known only for DICOM with one ultrasound region, which is cropped.
    A note that begins with "repaired" reports frames lost within the tolerance; `removed` are the
    numbers of those whose place is known, among the frames that the file shows.
    """

    frames: UInt8[np.ndarray, "T H W"]
    height: int
    width: int
    scale: float
    fps: float | None
    num_declared: int | None
    format: str
    notes: tuple[str, ...] = ()
    mm_per_pixel: float | None = None
    removed: tuple[int, ...] = ()

    def drop_removed(self, labels: Sequence[Any]) -> Sequence[Any]:
        """Labels of `frames`, from one label for each that the file shows.

        A player may skip frames at the start that lack their key frame: then none is dropped.
        """
        is_start = self.removed == tuple(range(len(self.removed)))
        if is_start and len(labels) == len(self.frames):
            return labels
        return [label for number, label in enumerate(labels) if number not in self.removed]


class FileDecoder(Sandbox):
    """A child process that decodes files one after another, each in a fresh fork."""

    def __init__(self, limits: DecodeLimits | None = None, *, max_side: int = 512) -> None:
        super().__init__("lus_ray.data.decoding.sandbox")
        self.limits, self.max_side = limits or DecodeLimits(), max_side

    def decode(self, path: Path, *, allow_text: bool = False) -> DecodedVideo:
        """Decode one file; `allow_text` accepts a DICOM file with text beside its fan.

        Raises:
            DecodeError: the file cannot be read, or not within the limits; the message names it.
        """
        try:
            with _open(path) as source, open_scratch() as result:
                self._decode(source.fileno(), result.fileno(), path.suffix.lower(), allow_text)
                return _read_video(result.fileno(), self.max_side)
        except DecodeError as error:
            raise DecodeError(f"{path.name}: {error}", error.kind) from error
        except OSError as error:
            raise DecodeError(f"{path.name}: cannot be read ({error.strerror or error})") from error

    def _decode(self, source: int, result: int, suffix: str, allow_text: bool) -> None:
        request = asdict(self.limits) | {"max_side": self.max_side, "suffix": suffix[:16]}
        end = self.run(source, result, request | {"allow_text": allow_text})
        if end is None:
            reason = "the decoder process ended; run again, with more memory if it was low"
            raise DecodeError(reason, "lost")
        if end.late:
            raise DecodeError(f"takes longer than {self.limits.seconds:g} s to decode", "refused")
        if end.status < 0:
            number = signal.Signals(-end.status)  # SIGKILL comes from outside
            whose: Any = "lost" if number is signal.SIGKILL else "unreadable"
            raise DecodeError(f"crashed the decoder ({number.name})", whose)
        if end.status > 0:
            size = self.limits.memory_bytes >> 20
            reason = f"the decoder gave up, short of memory (at most {size} MiB)"
            raise DecodeError(reason, "refused")


def _open(path: Path) -> Any:
    if not stat.S_ISREG(os.stat(path).st_mode):  # a named pipe would block
        raise DecodeError("is not a file")
    return open(path, "rb")


def _read_video(result: int, max_side: int) -> DecodedVideo:
    try:
        content, start, report = read_result(result)
    except ValueError:
        raise DecodeError("the decoder's output is inconsistent") from None
    if "error" in report:
        kind: Any = report.get("kind", "unreadable")
        raise DecodeError(" ".join(report["error"].split()), kind)
    num_frames, (height, width) = report["num_frames"], report["shape"]
    if start != num_frames * height * width or max(height, width) > max_side:
        raise DecodeError("the decoder's output is inconsistent")
    frames = np.frombuffer(content, np.uint8, start).reshape(num_frames, height, width)
    height, width = report["native"]
    kept = {name: report[name] for name in ("scale", "fps", "num_declared", "format")}
    kept |= {name: tuple(report.get(name, ())) for name in ("notes", "removed")}
    return DecodedVideo(frames, height, width, mm_per_pixel=report.get("mm_per_pixel"), **kept)
