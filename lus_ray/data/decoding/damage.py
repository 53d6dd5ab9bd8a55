"""Find the frames of a clip that FFmpeg shows although their data are damaged.

By default FFmpeg conceals damage: it fills blocks from their surroundings. Here its error detection
is strict, and a frame counts as damaged where the decoder reports an error or marks it corrupt, and
so do the frames predicted from it, up to the next key frame.

Limits: damage that leaves a valid stream cannot be noticed. That is any change of uncompressed,
Huffyuv, Ut Video, QuickTime Animation and FFV1 version 1 frames; in VP8, VP9 and HEVC, whose
arithmetic codes have no redundancy, all but blank blocks (HEVC with a picture hash is checked); and
single bits or short bursts of other codecs, most often of Motion JPEG, where blank blocks pass too
if its Huffman tables write zeros for flat areas.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from av.error import FFmpegError
from av.video.frame import PictureType

from lus_ray.data.decoding.blank_blocks import has_blank_block
from lus_ray.errors import DecodeError

MAX_SHORTFALL = 0.02
"""Tolerated share of frames that are damaged, or declared and absent (at least one frame)."""
STRICT = {"err_detect": "crccheck+bitstream+buffer+explode"}
"""Decoder options."""
LOGGED_BY_DECODER = (("ffv1", "CRC mismatch"), ("gif", "LZW decode failed"), ("qtrle", "Problem"))
"""(source, text) of FFmpeg's log lines for damage that these decoders report in no other way."""
LOGGED_BY_DEMUXER = (
    ("matroska,webm", "EBML number"),
    ("matroska,webm", "exceeds containing"),
    ("matroska,webm", "prematurely"),
    ("asf", "invalid"),
    ("asf", "skip 0 (unknown stream)"),
)
"""The same for lost packets."""


@dataclass
class PacketInfo:
    """A packet in decoding order: its time stamp, and whether it is a key frame or shown at all."""

    pts: int | None
    is_key: bool
    is_shown: bool


class StrictDecoder:
    """Decodes the packets of a stream and records what is damaged.

    `log` is FFmpeg's log as (level, source, text), which grows meanwhile. After iteration: `hurt`
    has the cause by packet, "" where unknown, `outputs` the packet of each decoded frame,
    `container_cause` what stopped or disturbed the reading of packets, or "", and `end` that of the
    last packet in the time base of the stream.
    """

    def __init__(self, container: Any, stream: Any, log: Sequence[tuple[int, str, str]]) -> None:
        self.container, self.stream, self.log = container, stream, log
        self.codec = stream.codec_context
        self.codec.thread_count = 1
        self.codec.options = STRICT
        self.codec.copy_opaque = True
        self.packets: list[PacketInfo] = []
        self.hurt: dict[int, str] = {}
        self.outputs: list[int] = []
        self.container_cause = ""
        self.first_intra: int | None = None
        self.num_logged, self.end = 0, 0

    def __iter__(self) -> Iterator[Any]:
        for packet in self._demux():
            for frame in self._decode(packet):
                number = len(self.packets) - 1 if frame.opaque is None else frame.opaque
                if frame.is_corrupt:
                    self.hurt.setdefault(number, "")
                # An AVI that lost its index marks every packet as a key frame.
                self.packets[number].is_key &= frame.key_frame
                if self.first_intra is None and frame.pict_type == PictureType.I:
                    self.first_intra = number
                self.outputs.append(number)
                yield frame

    def _demux(self) -> Iterator[Any]:
        """Packets with data, then None, which flushes the decoder."""
        is_cut = False
        try:
            for packet in self.container.demux(self.stream):
                if packet.size:
                    is_cut = packet.is_corrupt
                    yield packet
            if is_cut:
                self.container_cause = "it ends within a frame"
        except MemoryError:
            raise
        except FFmpegError as error:
            self.container_cause = error.strerror or type(error).__name__
        yield None

    def _decode(self, packet: Any) -> list[Any]:
        number = len(self.packets)
        if packet is not None:
            packet.opaque = number
            info = PacketInfo(packet.pts, packet.is_keyframe, not packet.is_discard)
            self.packets.append(info)
            if packet.is_corrupt:
                self.hurt[number] = "incomplete"
            if has_blank_block(self.codec.name, packet):
                self.hurt[number] = "a block of zero bytes"
            self.end = max(self.end, (info.pts or 0) + (packet.duration or 0))
        try:
            return self.codec.decode(packet)
        except MemoryError:
            raise
        except FFmpegError as error:
            number = min(number, len(self.packets) - 1)
            self.hurt[number] = error.strerror or type(error).__name__
            return []
        finally:
            self._check_log(number)

    def _check_log(self, number: int) -> None:
        if len(self.log) == self.num_logged:
            return
        for _, source, text in self.log[self.num_logged :]:
            if _matches(source, text, LOGGED_BY_DECODER):
                self.hurt.setdefault(number, text.strip())
            if _matches(source, text, LOGGED_BY_DEMUXER):
                self.container_cause = self.container_cause or text.strip()
        self.num_logged = len(self.log)

    def find_cut_off(self) -> set[int]:
        """Packets whose key frame a cut removed: some decoders show grey, some nothing."""
        packets = enumerate(self.packets)
        first = next((n for n, packet in packets if packet.is_key or n == self.first_intra), 0)
        wrong = self.hurt.keys() | set(range(len(self.packets))) - set(self.outputs)
        leading = {n for n in wrong if self._precedes(n, self.packets[first].pts)}
        return leading | set(range(first))

    def find_damaged(self) -> set[int]:
        """Packets that are damaged or predicted from damaged ones; without those cut off."""
        hurt, intra_only = self.hurt.keys() - self.find_cut_off(), self.codec.codec.intra_only
        damaged = set()
        is_broken, broken_key_pts = False, None
        for number, packet in enumerate(self.packets):
            if packet.is_key or intra_only:
                broken_key_pts = packet.pts if is_broken else None
                is_broken = False
            is_broken |= number in hurt
            if is_broken or self._precedes(number, broken_key_pts):
                damaged.add(number)
        return damaged

    def _precedes(self, number: int, key_pts: int | None) -> bool:
        """Whether a packet is shown before a key frame, and so refers to the frames before it."""
        pts = self.packets[number].pts
        return key_pts is not None and pts is not None and pts < key_pts

    def shown_order(self) -> list[int]:
        """Packets whose frames a player shows, in its order."""
        shown = [number for number, packet in enumerate(self.packets) if packet.is_shown]
        if all(self.packets[number].pts is not None for number in shown):
            shown.sort(key=lambda number: self.packets[number].pts or 0)
        elif len(shown) == len(self.outputs):
            return self.outputs
        return shown


def drop_damaged(
    decoder: StrictDecoder, out: BinaryIO, num_declared: int, notes: list[str]
) -> tuple[int, list[int], int]:
    """Remove damaged frames from `out`.

    The number of frames left; those of the frames removed or not decoded, empty where their order
    is unknown; and the number of frames declared to show.

    Raises:
        DecodeError: more are damaged than tolerated.
    """
    shown = decoder.shown_order()
    damaged, cut_off = decoder.find_damaged(), decoder.find_cut_off()
    numbers = [rank for rank, number in enumerate(shown) if number in damaged]
    total = max(num_declared, len(shown))
    cause = next((decoder.hurt[n] for n in sorted(damaged) if decoder.hurt.get(n)), "")
    if numbers and decoder.codec.name == "gif":  # no count shows how many are lost after it
        at = f"damaged from frame {numbers[0]} on, counted from 0 ({cause or 'marked corrupt'})"
        raise DecodeError(f"{at}; copy it again")
    check_damaged(numbers, total, cause, notes)
    if num_cut_off := len(cut_off & set(shown)):
        notes.append(f"repaired: skipped {num_cut_off} frames at its start without a key frame")
    kept = [i for i, number in enumerate(decoder.outputs) if number not in damaged | cut_off]
    if len(kept) < len(decoder.outputs):
        remove_frames(out, kept, out.tell() // len(decoder.outputs))
    decoded, left = set(decoder.outputs), {decoder.outputs[i] for i in kept}
    removed = [rank for rank, number in enumerate(shown) if number not in left]
    if [number for number in shown if number in decoded] != decoder.outputs:
        removed = []
    return len(kept), removed, max(0, num_declared - num_cut_off)


def check_damaged(numbers: Sequence[int], total: int, cause: str, notes: list[str]) -> None:
    """Note the ascending numbers of damaged frames.

    Raises:
        DecodeError: more are damaged than tolerated.
    """
    cause = f" ({cause})" if cause else ""
    frames = f"frame{'s' * (len(numbers) > 1)} {list_ranges(numbers)} of {total}"
    if len(numbers) > max(1, MAX_SHORTFALL * total) or len(numbers) == total > 0:
        raise DecodeError(f"damaged: {frames}, counted from 0{cause}; copy it again")
    if numbers:
        notes.append(f"repaired: removed {frames}, counted from 0, as damaged{cause}")


def remove_frames(out: BinaryIO, kept: Sequence[int], num_bytes: int) -> None:
    """Keep the frames of these ascending numbers, of `num_bytes` each, in a file of raw frames."""
    for target, source in enumerate(kept):
        if target != source:
            pixels = os.pread(out.fileno(), num_bytes, source * num_bytes)
            os.pwrite(out.fileno(), pixels, target * num_bytes)
    os.ftruncate(out.fileno(), len(kept) * num_bytes)
    out.seek(0, os.SEEK_END)


def list_ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers in words: "3, 8-12"."""
    starts = [n for i, n in enumerate(numbers) if not i or n != numbers[i - 1] + 1]
    ends = [n for i, n in enumerate(numbers) if i + 1 == len(numbers) or n + 1 != numbers[i + 1]]
    return ", ".join(
        str(start) if start == end else f"{start}-{end}"
        for start, end in zip(starts, ends, strict=True)
    )


def _matches(source: str, text: str, lines: Sequence[tuple[str, str]]) -> bool:
    return any(source == name and phrase in text for name, phrase in lines)
