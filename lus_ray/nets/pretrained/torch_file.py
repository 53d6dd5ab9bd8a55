"""Read the tensors of a torch file (`.pth`, `.pt`, `.pyth`) without running any code in it.

A torch file is a pickle that describes tensors, beside their raw numbers; `program` reads the
former, and this file the latter. Sizes are checked before memory is taken, so that a hostile
file is refused within a second.

Two layouts: a zip archive (torch 1.6 and later) and the plain stream before it.
"""

import io
import math
import struct
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from lus_ray.errors import CheckpointError
from lus_ray.nets.program import Storage, Strided, run

MAX_PROGRAM_BYTES = 8 << 20
MAX_DIRECTORY_BYTES = 4 << 20
"""ResNet-50 has 40 kB of program and 30 kB of directory."""

STREAM_MAGIC = 0x1950A86A20F9469CFC6C

UNREADABLE = (OSError, EOFError, RuntimeError, ValueError, struct.error, zipfile.BadZipFile)
"""What damaged archives raise: a wrong sum, a bad offset, a flag for a password."""

WRAPPERS = ("state_dict", "model_state", "model")
"""Keys under which training scripts keep the weights (TSM, PyTorchVideo, others)."""


def read(path: Path) -> dict[str, Tensor]:
    """The state dict that `torch.save` wrote, on its own or under one of `WRAPPERS`.

    Raises:
        CheckpointError: the file is damaged, or holds more than tensors; the message says what.
    """
    try:
        with path.open("rb") as file:
            if file.read(4) == b"PK\x03\x04":
                return _from_zip(file, path)
            return _from_stream(file, path)
    except UNREADABLE as error:
        reason = str(error) or "it is cut short"
        raise CheckpointError(f"{path}: not a readable torch file ({reason})") from None


def _from_zip(file: BinaryIO, path: Path) -> dict[str, Tensor]:
    _check_directory(file, path)
    with zipfile.ZipFile(file) as archive:
        entries = {entry.filename.partition("/")[2]: entry for entry in archive.infolist()}
        _check_entries(archive, path)
        if "data.pkl" not in entries or entries["data.pkl"].file_size > MAX_PROGRAM_BYTES:
            raise CheckpointError(f"{path}: a zip file without the data.pkl that torch.save writes")
        if "byteorder" in entries and archive.read(entries["byteorder"]) != b"little":
            raise CheckpointError(f"{path}: not little-endian; save it again on a common machine")
        described, _ = run(io.BytesIO(archive.read(entries["data.pkl"])), path)
        table = _table(described, path)
        storages = {}
        for storage in {tensor.storage for tensor in table.values()}:
            entry = entries.get(f"data/{storage.key}")
            if entry is None or entry.file_size != storage.num_bytes:
                raise CheckpointError(f"{path}: storage {storage.key!r} does not have its bytes")
            storages[storage.key] = _numbers(archive.read(entry), storage)
    return {name: _tensor(part, storages) for name, part in table.items()}


def _from_stream(file: BinaryIO, path: Path) -> dict[str, Tensor]:
    """The layout before torch 1.6: five pickles in a row, then storage after storage."""
    file.seek(0)
    head = io.BytesIO(file.read(MAX_PROGRAM_BYTES))
    if head.getbuffer()[:2] != b"\x80\x02" or run(head, path)[0] != STREAM_MAGIC:
        raise CheckpointError(f"{path}: not a torch file; give one that torch.save wrote")
    run(head, path)  # the version of the layout
    run(head, path)  # the machine it was written on
    described, promised = run(head, path)
    table = _table(described, path)
    keys, _ = run(head, path)
    listed = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
    if not listed or sorted(keys) != sorted(promised):
        raise CheckpointError(f"{path}: its storages are not those that its tensors use")
    num_bytes = path.stat().st_size
    file.seek(head.tell())
    storages = {}
    for key in keys:
        (num_values,) = struct.unpack("<q", file.read(8))
        storage = promised[key]
        if storage.num_values != num_values or storage.num_bytes > num_bytes - file.tell():
            raise CheckpointError(f"{path}: storage {key!r} does not have its bytes; cut short?")
        storages[key] = _numbers(file.read(storage.num_bytes), storage)
    return {name: _tensor(part, storages) for name, part in table.items()}


def _check_directory(file: BinaryIO, path: Path) -> None:
    """Refuse an archive of countless entries before its directory is read.

    torch writes no comment, so the end record and its 64-bit twin lie at fixed places.
    """
    file.seek(max(0, path.stat().st_size - 98))
    tail = file.read(98).rjust(98, b"\0")
    twin, locator, end = tail[:56], tail[56:76], tail[76:]
    if not end.startswith(b"PK\x05\x06"):
        raise CheckpointError(f"{path}: a zip file that is cut short, or not written by torch")
    (size,) = struct.unpack("<I", end[12:16])
    if locator.startswith(b"PK\x06\x07"):
        (size,) = struct.unpack("<Q", twin[40:48])
    if size > MAX_DIRECTORY_BYTES:
        raise CheckpointError(f"{path}: more entries than any table of tensors")


def _check_entries(archive: zipfile.ZipFile, path: Path) -> None:
    """torch compresses nothing, so that its entries together are smaller than the file."""
    if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:
        raise CheckpointError(f"{path}: its entries claim more bytes than the file has")


def _table(described: Any, path: Path) -> dict[str, Strided]:
    """The tensors by name among what the program describes."""
    if isinstance(described, dict):
        for wrapper in WRAPPERS:
            if isinstance(described.get(wrapper), dict):
                described = described[wrapper]
                break
        tensors = [item for item in described.values() if isinstance(item, Strided)]
        if described and len(tensors) == len(described):
            _check_total(tensors, path)
            return {str(name): tensor for name, tensor in described.items()}
    raise CheckpointError(f"{path}: no state dict of named tensors; save net.state_dict()")


def _check_total(tensors: list[Strided], path: Path) -> None:
    """Tied weights share a storage now and then; a thousand views of one storage are a bomb."""
    num_bytes = sum(math.prod(part.size) * part.storage.dtype.itemsize for part in tensors)
    if num_bytes > 4 * path.stat().st_size:
        raise CheckpointError(f"{path}: its tensors claim more bytes than the file has")


def _numbers(raw: bytes, storage: Storage) -> Tensor:
    if not raw:
        return torch.empty(0, dtype=storage.dtype)
    return torch.frombuffer(bytearray(raw), dtype=storage.dtype)


def _tensor(part: Strided, storages: dict[str, Tensor]) -> Tensor:
    flat = storages[part.storage.key]
    return flat.as_strided(part.size, part.stride, part.offset).contiguous()
