"""Files that are read without trust and written atomically, on a disk or on object storage.

A Parquet file may name extension types, for which Arrow runs registered code as it opens the file;
such a file is refused before Arrow sees it. Pages carry checksums.
"""

import base64
import binascii
import contextlib
import errno
import mmap
import os
import re
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lus_ray.errors import StoreError
from lus_ray.storage.paths import (
    PathOrUri,
    describe_error,
    explain_storage_error,
    is_remote,
    open_filesystem,
)

TAIL_BYTES = 256 << 10
"""Read at once from the end of a file: most footers, as a request costs more than bytes."""
JOIN_BYTES, NUM_REQUESTS = 64 << 10, 16
"""Ranges that are less apart are one request; requests at a time."""


@dataclass(frozen=True)
class ParquetSource:
    """A Parquet file whose footer was inspected, from which readers are made without a request."""

    path: PathOrUri
    source: pa.NativeFile
    metadata: pq.FileMetaData

    def new_reader(self, *, verify: bool = True) -> pq.ParquetFile:
        """A reader for one thread; it compares pages with their checksums if `verify`."""
        with _described(self.path):
            return pq.ParquetFile(
                self.source,
                metadata=self.metadata,
                pre_buffer=is_remote(self.path),
                page_checksum_verification=verify,
            )


def open_parquet(path: PathOrUri, columns: Collection[str] | None = None) -> pq.ParquetFile:
    """A Parquet file, remote ones read in ranges; StoreError if damaged or with extension types.

    With `columns`, those of a remote file are fetched at once, and no others can be read. Pages
    that are read are compared with their checksums.
    """
    return inspect_parquet(path, columns).new_reader()


def inspect_parquet(path: PathOrUri, columns: Collection[str] | None = None) -> ParquetSource:
    """A Parquet file as for `open_parquet`, for several readers."""
    with _described(path):
        if is_remote(path):
            filesystem, name = open_filesystem(path)
            source = filesystem.open_input_file(name)
        else:
            source = pa.memory_map(str(path))
        footer = _footer(source)
        if _has_extension_types(footer):
            raise StoreError(f"{path}: holds extension types, which can run code; do not use it")
        # Parsed from the very bytes that were inspected, and without a second request.
        metadata = pq.read_metadata(pa.BufferReader(footer))
        if is_remote(path) and columns is not None:
            source = pa.BufferReader(_fetch(source, find_chunks(metadata, columns)))
        return ParquetSource(path, source, metadata)


@contextlib.contextmanager
def _described(path: PathOrUri) -> Iterator[None]:
    """What Arrow raises as a StoreError."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        if is_remote(path) and (message := explain_storage_error(error)):
            raise StoreError(f"{path}: not readable: {message}") from error
        raise StoreError(
            f"{path}: not a readable Parquet file ({describe_error(error)}); make it again"
        ) from error


def find_chunks(
    metadata: pq.FileMetaData, columns: Collection[str], groups: Iterable[int] | None = None
) -> list[tuple[int, int]]:
    """First and last byte + 1 of the chunks of these columns; near ones are joined.

    In row groups of these numbers, or in all.
    """
    names = [metadata.schema.column(i).path.partition(".")[0] for i in range(metadata.num_columns)]
    numbers = [number for number, name in enumerate(names) if name in columns]
    found: list[tuple[int, int]] = []
    chosen = range(metadata.num_row_groups) if groups is None else groups
    for group in map(metadata.row_group, chosen):
        for chunk in map(group.column, numbers):
            first = chunk.dictionary_page_offset or chunk.data_page_offset
            last = first + chunk.total_compressed_size
            if found and 0 <= first - found[-1][1] < JOIN_BYTES:
                first = found.pop()[0]
            found.append((first, last))
    return found


def read_text(path: PathOrUri) -> str | None:
    """The content of a UTF-8 file, None without a file; StoreError if it is not readable."""
    try:
        if not is_remote(path):
            return Path(path).read_text(encoding="utf-8")
        filesystem, name = open_filesystem(path)
        with filesystem.open_input_file(name) as file:
            return bytes(file.read()).decode()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        raise StoreError(f"{path}: not readable: permission denied; ask its owner") from error
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise StoreError(f"{path}: not readable: {describe_error(error)}") from error


def write_text(path: PathOrUri, text: str) -> None:
    """Write a whole file or nothing; StoreError if a storage does not answer or allow it."""
    if is_remote(path):
        _put(path, text.encode())
        return
    with write_atomically(Path(path)) as staging:
        staging.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def write_atomically(path: Path) -> Iterator[Path]:
    """A temporary name to write to, which replaces `path` as the block ends.

    The bytes are on the disk before the rename, so that a power cut leaves the earlier file or the
    new one. After an error the earlier file is unchanged.
    """
    staging = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield staging
        fsync(staging)
        os.replace(staging, path)
        fsync(path.parent)
    finally:
        staging.unlink(missing_ok=True)


def fsync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a filesystem that syncs no folders
            raise
    finally:
        os.close(number)


def _put(uri: PathOrUri, data: bytes) -> None:
    try:
        filesystem, name = open_filesystem(uri)
        with filesystem.open_output_stream(name) as file:
            file.write(data)
    except (pa.ArrowException, OSError) as error:
        raise StoreError(f"{uri}: not written: {describe_error(error)}") from error


def _footer(source: pa.NativeFile) -> bytes:
    size = source.size()
    tail = source.read_at(min(size, TAIL_BYTES), max(0, size - TAIL_BYTES))
    wanted = min(size, int.from_bytes(tail[-8:-4], "little") + 8)
    return tail[-wanted:] if wanted <= len(tail) else source.read_at(wanted, size - wanted)


def _fetch(source: pa.NativeFile, ranges: Iterable[tuple[int, int]]) -> mmap.mmap:
    """Ranges of a file, requested in parallel, in memory of its size; the rest takes no memory."""
    held = mmap.mmap(-1, source.size())

    def fetch(part: tuple[int, int]) -> None:
        data = source.read_at(part[1] - part[0], part[0])
        held[part[0] : part[0] + len(data)] = data

    with ThreadPoolExecutor(NUM_REQUESTS) as threads:
        deque(threads.map(fetch, ranges), maxlen=0)
    return held


def _has_extension_types(footer: bytes) -> bool:
    for text in re.findall(rb"[A-Za-z0-9+/]{64,}={0,2}", footer):
        with contextlib.suppress(binascii.Error):
            if b"ARROW:extension" in base64.b64decode(text + b"=" * (-len(text) % 4)):
                return True
    return b"ARROW:extension" in footer
