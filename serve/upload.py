"""A body on its way in: written to a nameless file as it comes, and refused as soon as it must be.

Why not whole in memory: sixty-four uploads of the allowed size would be four gibibytes.
"""

import asyncio
import tempfile
import time
from collections.abc import Callable, MutableMapping
from typing import Any, BinaryIO, cast

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from lus_ray.inference.limits import ServiceLimits
from serve.errors import Refused

OVERHEAD = 2**16
"""Bytes that a multipart form may hold around its file."""


async def receive(request: Request, limits: ServiceLimits) -> BinaryIO:
    """The clip of a request, at the start of a file that goes away when it is closed.

    Raises:
        Refused: it is too large (413), too slow (408), empty or not well formed (400).
    """
    form = _form(request.headers.get("content-type", ""))
    allowed = limits.body_bytes + (OVERHEAD if form else 0)
    if _declared(request) > allowed:
        raise _too_large(limits)
    file = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 - the caller closes it
    try:
        write = _Form(form, file) if form else file.write
        async with asyncio.timeout(limits.request_seconds):
            await _copy(request.receive, write, allowed, limits)
        if isinstance(write, _Form):
            write.finish()
        if file.tell() == 0:
            raise Refused(400, "no clip came; send it as the body, or as the form field 'file'")
        if file.tell() > limits.body_bytes:
            raise _too_large(limits)
    except TimeoutError as error:
        file.close()
        raise Refused(408, "the body came too slowly", closes=True) from error
    except FormParserError as error:
        file.close()
        raise Refused(400, "the multipart form is not well formed", closes=True) from error
    except BaseException:
        file.close()
        raise
    file.seek(0)
    return file


async def _copy(
    messages: Callable[[], Any], write: Callable[[bytes], Any], allowed: int, limits: ServiceLimits
) -> None:
    num_bytes, more, began = 0, True, time.monotonic()
    while more:
        message: MutableMapping[str, Any] = await asyncio.wait_for(messages(), limits.idle_seconds)
        spent = time.monotonic() - began
        if spent > limits.idle_seconds and num_bytes < spent * limits.bytes_per_second:
            raise TimeoutError
        if message["type"] == "http.disconnect":
            raise Refused(400, "the client went away", closes=True)
        piece = message.get("body", b"")
        num_bytes += len(piece)
        if num_bytes > allowed:
            raise _too_large(limits)
        if piece:
            write(piece)
        more = message.get("more_body", False)


def _declared(request: Request) -> int:
    text = request.headers.get("content-length", "0")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0


def _too_large(limits: ServiceLimits) -> Refused:
    size = limits.body_bytes >> 20
    return Refused(413, f"the clip is larger than {size} MiB; cut or shrink it", closes=True)


def _form(content_type: str) -> bytes | None:
    """The boundary of a multipart form; None for a raw body.

    Raises:
        Refused: a form without a boundary, or another kind of form (415).
    """
    kind, options = parse_options_header(content_type)
    if kind == b"multipart/form-data":
        boundary = options.get(b"boundary")
        if not boundary or len(boundary) > 256:
            raise Refused(400, "the multipart form has no usable boundary", closes=True)
        return boundary
    if kind in (b"application/json", b"application/x-www-form-urlencoded") or kind.startswith(
        (b"multipart/", b"text/")
    ):
        raise Refused(
            415, "send a clip: multipart/form-data with a field 'file', or the bytes", closes=True
        )
    return None


class _Form:
    """Writes the part named `file` of a multipart form and leaves the others out."""

    def __init__(self, boundary: bytes, file: BinaryIO) -> None:
        self.file, self.wanted, self.num_found, self.whole = file, False, 0, False
        self.name, self.value = b"", b""
        self.parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._field,
                "on_header_value": self._value,
                "on_header_end": self._header,
                "on_part_data": self._data,
                "on_end": self._end,
            },
        )

    def __call__(self, piece: bytes) -> None:
        self.parser.write(piece)

    def finish(self) -> None:
        """See that the form came to its end, with one file."""
        if not self.whole:
            raise Refused(400, "the multipart form ends too early", closes=True)
        if self.num_found != 1:
            raise Refused(400, f"the form holds {self.num_found} fields 'file'; send one clip")

    def _begin(self) -> None:
        self.wanted, self.name, self.value = False, b"", b""

    def _field(self, data: bytes, start: int, end: int) -> None:
        self.name += data[start:end]

    def _value(self, data: bytes, start: int, end: int) -> None:
        self.value += data[start:end]

    def _header(self) -> None:
        if self.name.lower() == b"content-disposition":
            _, options = parse_options_header(self.value)
            self.wanted = options.get(b"name") == b"file"
            self.num_found += self.wanted
        self.name, self.value = b"", b""

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self.wanted and self.num_found == 1:
            self.file.write(data[start:end])

    def _end(self) -> None:
        self.whole = True
