"""Files between a folder of this machine and a URI, one by one, against storage that stumbles.

An object appears whole or not at all. Storage that does not answer is asked again, with pauses
that double, until patience is out.
"""

import errno
import os
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
from pyarrow import fs

from lus_ray.errors import CellError, InputError
from lus_ray.storage import paths

WHOLE_AT_ONCE = ("s3", "gcs")
"""Storage that shows no object before its last byte; elsewhere it is moved into place."""
HOPELESS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
"""Errors of this machine's own disk, which time does not mend."""

Answer = TypeVar("Answer")


class Objects:
    """What lies at a URI, seen from a folder that has some of it.

    Without patience (0 seconds) the first error is the user's to mend.
    """

    def __init__(self, uri: str, folder: Path, *, shown: str, patience_s: float) -> None:
        self.system, self.root = _opened(uri)
        self.folder, self.shown, self.patience_s = folder, shown, patience_s

    def below(self, name: str) -> dict[str, fs.FileInfo]:
        """The object of this name, or all in the folder of this name, by path below the URI.

        Names with a dot at the front belong to locks and unfinished copies, and are left out.

        Raises:
            InputError: the storage cannot be asked.
            CellError: the same, after some patience.
        """
        path = f"{self.root}/{name}" if name else self.root

        def ask() -> list[fs.FileInfo]:
            info = self.system.get_file_info(path)
            if info.type == fs.FileType.File:
                return [info]
            inside = fs.FileSelector(path, recursive=True, allow_not_found=True)
            return list(self.system.get_file_info(inside))

        found = [info for info in self.patiently(ask) if info.type == fs.FileType.File]
        named = {info.path.removeprefix(f"{self.root}/"): info for info in found}
        return {name: info for name, info in named.items() if not hidden(name)}

    def fetch(self, name: str, info: fs.FileInfo) -> None:
        """Copy an object here, where it has the time of the object."""
        target = self.folder / name
        aside = target.with_name(f".{target.name}.{os.getpid()}")

        def copy() -> None:
            target.parent.mkdir(parents=True, exist_ok=True)
            fs.copy_files(
                f"{self.root}/{name}",
                str(aside),
                source_filesystem=self.system,
                destination_filesystem=fs.LocalFileSystem(),
            )
            os.utime(aside, ns=(time_ns(info), time_ns(info)))
            os.replace(aside, target)

        try:
            self.patiently(copy)
        finally:
            aside.unlink(missing_ok=True)

    def bring(self, name: str) -> None:
        """Copy a file there; it takes over the time of the object, unless it changed meanwhile."""
        source, target = self.folder / name, f"{self.root}/{name}"
        before = source.stat()
        info = self.patiently(lambda: self._copy_up(str(source), target))
        after = source.stat()
        if (before.st_mtime_ns, before.st_ino) == (after.st_mtime_ns, after.st_ino):
            os.utime(source, ns=(time_ns(info), time_ns(info)))

    def remove(self, name: str) -> None:
        """Remove an object; one that is gone already is fine."""

        def delete() -> None:
            if self.system.get_file_info(f"{self.root}/{name}").type == fs.FileType.File:
                self.system.delete_file(f"{self.root}/{name}")

        self.patiently(delete)

    def patiently(self, ask: Callable[[], Answer]) -> Answer:
        """The answer of the storage, which is asked again while it gives none."""
        began, pause_s = time.monotonic(), 0.25
        while True:
            try:
                return ask()
            except (OSError, pa.ArrowException) as error:
                reason, waited_s = paths.describe_error(error), time.monotonic() - began
                if self.patience_s <= 0:
                    raise InputError(f"{self.shown}: not readable: {reason}") from error
                hopeless = getattr(error, "errno", None) in HOPELESS
                if hopeless or waited_s + pause_s > self.patience_s:
                    raise CellError(
                        f"{self.shown}: gave up after {waited_s:.0f} s: {reason}; what was made "
                        f"stays in {self.folder}; mend it and run the same command again"
                    ) from error
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, 8.0)

    def _copy_up(self, source: str, target: str) -> fs.FileInfo:
        """In one call of Arrow: a stream that Python leaves halfway is closed, and so an object."""
        folder, _, name = target.rpartition("/")
        direct = self.system.type_name in WHOLE_AT_ONCE
        aside = target if direct else f"{folder}/.{name}.{os.getpid()}"
        if not direct:
            self.system.create_dir(folder, recursive=True)
        fs.copy_files(
            source,
            aside,
            source_filesystem=fs.LocalFileSystem(),
            destination_filesystem=self.system,
        )
        if not direct:
            self.system.move(aside, target)
        return self.system.get_file_info(target)


def alike(path: Path, info: fs.FileInfo) -> bool:
    """Whether a file is the copy of an object, by its size and its time."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    return found.st_size == info.size and found.st_mtime_ns == time_ns(info)


def time_ns(info: fs.FileInfo) -> int:
    """Whole seconds, as some storage tells them finer in a list than of the one object."""
    return int(info.mtime_ns // 10**9 * 10**9)


def hidden(name: str) -> bool:
    """Whether a part of the name begins with a dot."""
    return any(part.startswith(".") for part in name.split("/"))


@lru_cache(maxsize=8)
def _opened(uri: str) -> tuple[fs.FileSystem, str]:
    """One client for each URI, which keeps its connections."""
    return paths.open_filesystem(uri)
