"""Receives a clip into a nameless file, rejects it as soon as possible, and decodes it.

Why not in memory: sixty-four uploads of the allowed size would take four gibibytes.
"""

import asyncio
import tempfile
import time
from collections.abc import Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any, BinaryIO, cast

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from lus_ray.data.decoding.decoder import DecodedVideo, FileDecoder
from lus_ray.errors import DecodeError
from lus_ray.inference.limits import ServiceLimits
from lus_ray.inference.response import ClipInspection, inspect_clip
from serve.errors import RequestError

FORM_OVERHEAD = 2**16
"""Bytes that a multipart form may hold around its file."""
STATUS = {"unreadable": 400, "refused": 422, "lost": 503}
"""By the kind of a `DecodeError`."""
REMEDY = {
    "unreadable": "; send a video (MP4, MOV, AVI, MKV, WMV), GIF, image or DICOM file",
    "refused": "; send another clip",
    "lost": "; send it again",
}
"""For errors that name none."""


async def receive_clip(request: Request, limits: ServiceLimits) -> BinaryIO:
    """The clip of a request, in a temporary file at its start.

    Raises:
        RequestError: it is too large (413), too slow (408), empty or malformed (400).
    """
    boundary = _multipart_boundary(request.headers.get("content-type", ""))
    allowed = limits.body_bytes + (FORM_OVERHEAD if boundary else 0)
    length = request.headers.get("content-length", "0")
    if length.isascii() and length.isdigit() and len(length) < 20 and int(length) > allowed:
        raise _too_large(limits)
    file = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 - the caller closes it
    try:
        write = _FormWriter(boundary, file) if boundary else file.write
        async with asyncio.timeout(limits.request_seconds):
            await _copy(request.receive, write, allowed, limits)
        if isinstance(write, _FormWriter):
            write.finish()
        if file.tell() == 0:
            raise RequestError(400, "the clip is empty; send it as body or form field 'file'")
        if file.tell() > limits.body_bytes:
            raise _too_large(limits)
    except BaseException as error:
        file.close()
        if isinstance(error, TimeoutError):
            raise RequestError(
                408,
                "the clip arrived too slowly; check the connection, or send a smaller one",
                close=True,
            ) from error
        if isinstance(error, FormParserError):
            raise RequestError(
                400,
                "the multipart form is malformed; send the clip as field 'file', or as raw body",
                close=True,
            ) from error
        raise
    file.seek(0)
    return file


class DecoderPool:
    """Warm decoder processes, each for one clip at a time, outside of the event loop."""

    def __init__(self, limits: ServiceLimits, num: int = 2) -> None:
        self.threads = ThreadPoolExecutor(num, thread_name_prefix="decode")
        self.retry_after_seconds = limits.retry_after_seconds
        self.free: SimpleQueue[FileDecoder] = SimpleQueue()
        for _ in range(num):
            decoder = FileDecoder(limits.clip, max_side=limits.max_side)
            decoder.start()
            self.free.put(decoder)

    async def decode(
        self, file: BinaryIO, *, allow_text: bool = False, preview: bool = False
    ) -> tuple[DecodedVideo, ClipInspection]:
        """The frames of an open file, which is closed afterwards, and what needs no model.

        Raises:
            RequestError: it is not a clip (400), exceeds a limit (422), or two processes in turn
                were lost with it (503).
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.threads, self._read, file, allow_text, preview)

    def close(self) -> None:
        self.threads.shutdown()
        while not self.free.empty():
            self.free.get().close()

    def _read(
        self, file: BinaryIO, allow_text: bool, preview: bool
    ) -> tuple[DecodedVideo, ClipInspection]:
        decoded = self._decode(file, allow_text)
        return decoded, inspect_clip(decoded, preview=preview)

    def _decode(self, file: BinaryIO, allow_text: bool) -> DecodedVideo:
        decoder = self.free.get()
        path = Path(f"/proc/self/fd/{file.fileno()}")
        try:
            with file:
                try:
                    decoded = decoder.decode(path, allow_text=allow_text)
                except DecodeError as error:
                    if error.kind != "lost":
                        raise
                    decoded = decoder.decode(path, allow_text=allow_text)
                # The file has no name here, so notes on its name mean nothing.
                notes = tuple(note for note in decoded.notes if not note.startswith("its name"))
                return replace(decoded, notes=notes)
        except DecodeError as error:
            text = str(error).removeprefix(f"{path.name}: ")
            if ";" not in text:
                text += REMEDY[error.kind]
            retry_after = self.retry_after_seconds if error.kind == "lost" else None
            raise RequestError(STATUS.get(error.kind, 400), text, retry_after) from None
        finally:
            self.free.put(decoder)


async def _copy(
    messages: Callable[[], Any], write: Callable[[bytes], Any], allowed: int, limits: ServiceLimits
) -> None:
    num_bytes, more, start = 0, True, time.monotonic()
    while more:
        async with asyncio.timeout(limits.idle_seconds):
            message: MutableMapping[str, Any] = await messages()
        elapsed = time.monotonic() - start
        if elapsed > limits.idle_seconds and num_bytes < elapsed * limits.bytes_per_second:
            raise TimeoutError
        if message["type"] == "http.disconnect":
            raise RequestError(
                400, "the connection ended before the clip was complete; send it again", close=True
            )
        piece = message.get("body", b"")
        num_bytes += len(piece)
        if num_bytes > allowed:
            raise _too_large(limits)
        if piece:
            write(piece)
        more = message.get("more_body", False)


def _too_large(limits: ServiceLimits) -> RequestError:
    size = limits.body_bytes >> 20
    return RequestError(413, f"the clip is larger than {size} MiB; cut or shrink it", close=True)


def _multipart_boundary(content_type: str) -> bytes | None:
    kind, options = parse_options_header(content_type)
    if kind == b"multipart/form-data":
        boundary = options.get(b"boundary")
        if not boundary or len(boundary) > 256:
            raise RequestError(
                400,
                "the multipart form has no usable boundary; let the HTTP library write it",
                close=True,
            )
        return boundary
    if kind in (b"application/json", b"application/x-www-form-urlencoded") or kind.startswith(
        (b"multipart/", b"text/")
    ):
        raise RequestError(
            415,
            f"{kind.decode('ascii', 'replace')} holds no clip; send a clip as multipart/form-data "
            "with a field 'file', or its bytes",
            close=True,
        )
    return None


class _FormWriter:
    """Writes the part named `file` of a multipart form; ignores the others."""

    def __init__(self, boundary: bytes, file: BinaryIO) -> None:
        self.file, self.is_file, self.num_files, self.is_complete = file, False, 0, False
        self.name, self.value = b"", b""
        self.parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._add_name,
                "on_header_value": self._add_value,
                "on_header_end": self._end_header,
                "on_part_data": self._write,
                "on_end": self._end,
            },
        )

    def __call__(self, piece: bytes) -> None:
        self.parser.write(piece)

    def finish(self) -> None:
        if not self.is_complete:
            raise RequestError(400, "the multipart form ends too early; send it again", close=True)
        if self.num_files != 1:
            raise RequestError(400, f"the form has {self.num_files} fields 'file'; send one clip")

    def _begin(self) -> None:
        self.is_file, self.name, self.value = False, b"", b""

    def _add_name(self, data: bytes, start: int, end: int) -> None:
        self.name += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self.value += data[start:end]

    def _end_header(self) -> None:
        if self.name.lower() == b"content-disposition":
            _, options = parse_options_header(self.value)
            self.is_file = options.get(b"name") == b"file"
            self.num_files += self.is_file
        self.name, self.value = b"", b""

    def _write(self, data: bytes, start: int, end: int) -> None:
        if self.is_file and self.num_files == 1:
            self.file.write(data[start:end])

    def _end(self) -> None:
        self.is_complete = True
