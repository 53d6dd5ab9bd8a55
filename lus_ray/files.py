"""Files that are read without trust and written whole.

A Parquet file may name extension types, which Arrow builds by running registered code while it
opens the file; here such a file is refused before Arrow sees it. Pages carry checksums.
"""

import base64
import binascii
import contextlib
import os
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lus_ray.errors import StoreError


def open_parquet(path: Path) -> pq.ParquetFile:
    """A Parquet file, once it is known to hold no extension types.

    Raises:
        StoreError: the file is no Parquet, is damaged, or asks Arrow to build extension types.
    """
    try:
        if _has_extension_types(path):
            raise StoreError(f"{path}: holds extension types, which can run code; do not use it")
        return pq.ParquetFile(path, memory_map=True, page_checksum_verification=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise StoreError(
            f"{path}: not a readable Parquet file ({reason}); make it again"
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write a whole file or nothing: aside first, then renamed."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(text, encoding="utf-8")
    os.replace(aside, path)


def _has_extension_types(path: Path) -> bool:
    """Whether the footer asks Arrow to build extension types, seen before Arrow reads it."""
    with path.open("rb") as file:
        file.seek(-8, os.SEEK_END)
        length = int.from_bytes(file.read(4), "little")
        file.seek(-8 - min(length, path.stat().st_size - 8), os.SEEK_END)
        footer = file.read(length)
    for text in re.findall(rb"[A-Za-z0-9+/]{64,}={0,2}", footer):
        with contextlib.suppress(binascii.Error):
            if b"ARROW:extension" in base64.b64decode(text + b"=" * (-len(text) % 4)):
                return True
    return b"ARROW:extension" in footer
