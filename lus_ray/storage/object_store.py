"""Transfers between a folder and a URI, one object at a time, with retries."""

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

ATOMIC_UPLOADS = ("s3", "gcs")
"""Storage that shows an object only when it is whole; elsewhere a file is moved into place."""
PERMANENT_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)

Result = TypeVar("Result")


class ObjectStore:
    """The objects below a URI, transferred one by one to and from a local folder.

    Failed requests are repeated, with pauses that double, for `retry_s` seconds; with 0 the first
    error is raised as an InputError.
    """

    def __init__(self, uri: str, folder: Path, *, display_name: str, retry_s: float) -> None:
        self.system, self.root = _open_cached(uri)
        self.folder, self.display_name, self.retry_s = folder, display_name, retry_s

    def list(self, name: str) -> dict[str, fs.FileInfo]:
        """Objects at or below a name, by path below the URI; no locks, no unfinished copies."""
        path = f"{self.root}/{name}" if name else self.root

        def request() -> list[fs.FileInfo]:
            info = self.system.get_file_info(path)
            if info.type == fs.FileType.File:
                return [info]
            inside = fs.FileSelector(path, recursive=True, allow_not_found=True)
            return list(self.system.get_file_info(inside))

        infos = [info for info in self._retry(request) if info.type == fs.FileType.File]
        by_name = {info.path.removeprefix(f"{self.root}/"): info for info in infos}
        return {name: info for name, info in by_name.items() if not is_hidden(name)}

    def download(self, name: str, info: fs.FileInfo) -> None:
        """Copy an object here and give the file the object's time."""
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
            self._retry(copy)
        finally:
            aside.unlink(missing_ok=True)

    def upload(self, name: str) -> None:
        """Copy a file there; it takes over the object's time, unless it changed meanwhile."""
        source, target = self.folder / name, f"{self.root}/{name}"
        before = source.stat()
        info = self._retry(lambda: self._copy_up(str(source), target))
        after = source.stat()
        if (before.st_mtime_ns, before.st_ino) == (after.st_mtime_ns, after.st_ino):
            os.utime(source, ns=(time_ns(info), time_ns(info)))

    def remove(self, name: str) -> None:
        def delete() -> None:
            if self.system.get_file_info(f"{self.root}/{name}").type == fs.FileType.File:
                self.system.delete_file(f"{self.root}/{name}")

        self._retry(delete)

    def _retry(self, request: Callable[[], Result]) -> Result:
        start, pause_s = time.monotonic(), 0.25
        while True:
            try:
                return request()
            except (OSError, pa.ArrowException) as error:
                reason, waited_s = paths.describe_error(error), time.monotonic() - start
                if self.retry_s <= 0:
                    raise InputError(f"{self.display_name}: not readable: {reason}") from error
                is_permanent = getattr(error, "errno", None) in PERMANENT_ERRORS
                if is_permanent or waited_s + pause_s > self.retry_s:
                    raise CellError(
                        f"{self.display_name}: gave up after {waited_s:.0f} s: {reason}; results "
                        f"stay in {self.folder}; mend it and run the same command again"
                    ) from error
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, 8.0)

    def _copy_up(self, source: str, target: str) -> fs.FileInfo:
        # One call of Arrow: a Python stream that is left halfway is closed, which makes an object.
        folder, _, name = target.rpartition("/")
        is_atomic = self.system.type_name in ATOMIC_UPLOADS
        aside = target if is_atomic else f"{folder}/.{name}.{os.getpid()}"
        if not is_atomic:
            self.system.create_dir(folder, recursive=True)
        fs.copy_files(
            source,
            aside,
            source_filesystem=fs.LocalFileSystem(),
            destination_filesystem=self.system,
        )
        if not is_atomic:
            self.system.move(aside, target)
        return self.system.get_file_info(target)


def is_same_version(path: Path, info: fs.FileInfo) -> bool:
    """Whether a file is the copy of an object, by size and time."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return False
    return stat.st_size == info.size and stat.st_mtime_ns == time_ns(info)


def time_ns(info: fs.FileInfo) -> int:
    """The time of an object in whole seconds, as some storage lists it finer than it reports it."""
    return int(info.mtime_ns // 10**9 * 10**9)


def is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


@lru_cache(maxsize=8)
def _open_cached(uri: str) -> tuple[fs.FileSystem, str]:
    return paths.open_filesystem(uri)
