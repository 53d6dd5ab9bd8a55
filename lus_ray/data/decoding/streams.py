"""Choose the one video stream of an open container, and read what it declares of its length."""

from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from statistics import median
from typing import Any

from av.stream import Disposition

from lus_ray.data.decoding.damage import MAX_SHORTFALL, list_ranges
from lus_ray.data.decoding.file_types import ASF, AVI, MATROSKA, MP4, FileFormat
from lus_ray.errors import DecodeError

PICTURES = Disposition.attached_pic | Disposition.timed_thumbnails
"""Cover art and chapter pictures."""
HAS_DURATION = (MATROSKA.demuxer, ASF.demuxer)
"""Containers that count no frames and whose header states the duration."""

REORDERED = 5.0
"""Frames by which a clip that was cut without encoding may begin late."""
GAP_TOLERANCE, MAX_GAPS = 0.1, 0.1
"""A clip is steady where all but this share of its frames come after the usual time."""


def choose_stream(container: Any, notes: list[str]) -> Any:
    """The only video stream beside cover art and preview pictures, which are noted.

    Raises:
        DecodeError: there is none, or more than one.
    """
    streams = container.streams.video
    videos = [stream for stream in streams if not stream.disposition & PICTURES]
    clips = [stream for stream in videos if stream.frames != 1]
    videos = clips if len(clips) == 1 else videos  # cameras store a preview picture beside a clip
    if not videos and streams:
        raise DecodeError("holds cover art but no video; give the video itself")
    if not videos:
        raise DecodeError("holds no video stream")
    if len(videos) > 1:
        raise DecodeError(f"holds {len(videos)} video tracks or image tiles; export one of them")
    if num_skipped := len(streams) - 1:
        notes.append(f"skipped {num_skipped} cover or preview picture{'s' * (num_skipped > 1)}")
    return videos[0]


def count_shown(stream: Any, kind: FileFormat, notes: list[str]) -> int:
    """Frames that the container says a player shows; 0 where it counts none.

    In MP4 and MOV the index follows the edit list, unlike the count of the track.
    """
    if kind.still:
        return 1
    entries = stream.index_entries if kind in (MP4, AVI) and stream.frames else ()
    if kind is MP4 and entries:
        return sum(1 for entry in entries if entry.size and not entry.is_discard)
    if kind is AVI and entries:
        num_stored = _count_stored(stream.frames, [entry.timestamp for entry in entries])
        if num_empty := stream.frames - num_stored:
            notes.append(f"dropped when it was recorded, and not filled in: {num_empty} frames")
        return num_stored
    return int(stream.frames)


def _count_stored(num_frames: int, times: Sequence[int]) -> int:
    """Frames with data of an AVI, whose index skips the empty ones: their time stamps are missing.

    Missing entries at the end count as empty where an earlier gap is as long, else as lost.
    """
    longest = max((after - before for before, after in pairwise(times)), default=1)
    num_last = num_frames - 1 - times[-1]
    return min(num_frames, len(times) + (num_last if num_last >= longest else 0))


def count_lost(
    container: Any, stream: Any, kind: FileFormat, times: Sequence[int | None], end: int
) -> int | None:
    """Frames that the duration in the header has room for beside those from `times` to `end`.

    In the time base of the stream. None where the container declares no duration. Parts of a
    Matroska recording, and videos beside other tracks, may begin late.
    """
    others = [other for other in container.streams if not other.disposition & PICTURES]
    seconds = _declared_seconds(container, stream, kind, len(others) == 1)
    if seconds is None or not stream.average_rate or not stream.time_base:
        return None
    known = [time for time in times if time is not None]
    start = min(known, default=0) if len(others) == 1 and kind is ASF else 0
    rate = float(stream.average_rate)
    missing = (seconds - float((end - start) * stream.time_base)) * rate
    return int(missing) if missing > max(REORDERED, MAX_SHORTFALL * seconds * rate) else 0


def _declared_seconds(
    container: Any, stream: Any, kind: FileFormat, is_alone: bool
) -> float | None:
    if kind.demuxer not in HAS_DURATION:
        return None
    with suppress(KeyError, ValueError):
        hours, minutes, seconds = map(float, stream.metadata["DURATION"].split(":"))
        return 3600 * hours + 60 * minutes + seconds
    return container.duration / 1e6 if is_alone and container.duration else None


def note_gaps(times: Sequence[int | None], notes: list[str]) -> None:
    """Note where the time stamps of a steady clip, in the order of its frames, skip frames."""
    known = [time for time in times if time is not None]
    steps = [after - before for before, after in pairwise(known)]
    if len(known) < len(times) or not steps:
        return
    usual = median(steps)
    num_usual = sum(abs(step - usual) <= GAP_TOLERANCE * usual for step in steps)
    gaps = {
        frame: round(step / usual) - 1
        for frame, step in enumerate(steps)
        if step >= 1.8 * usual > 0
    }
    if gaps and num_usual >= len(steps) - max(1, MAX_GAPS * len(steps)):
        where = f"after frame {list_ranges(sorted(gaps))}, counted from 0"
        notes.append(
            f"its time stamps leave room for {sum(gaps.values())} more {where}: dropped when it "
            "was recorded, or lost"
        )
