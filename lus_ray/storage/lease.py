"""Locks on run folders and stores: of the system where it has them, else a lease.

    .lock         locked by the system and naming its holder: {"process", "host", "began"}
    .lock.json    a lease: {"process", "host", "token", "began", "beat"}

The system frees a lock as its process ends, however it ends. Object storage and some shared
filesystems lock nothing: there the holder rewrites a lease every 20 s. Another command takes over
a lease that is older than 90 s by the storage's clock, or at once if the holder was a process of
its own machine that is gone.
"""

import contextlib
import json
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
from filelock import FileLock, Timeout
from pyarrow import fs

from lus_ray.errors import InputError
from lus_ray.storage import paths

LOCK_NAME = ".lock"
LEASE_NAME = ".lock.json"
HEARTBEAT_S = 20.0
STALE_S = 90.0
NUM_BYTES = 512
SETTLE_S = 1.0
"""A writer waits this long before it checks whether another one wrote at the same moment."""


def acquire_lock(path: Path, *, timeout_s: float = 0.0, poll_s: float = 0.5) -> FileLock:
    """A lock on a file, for the caller to release; not `is_locked` where its filesystem has none.

    A negative `timeout_s` waits for as long as it takes.

    Raises:
        filelock.Timeout: another process holds the lock.
        OSError: the file cannot be created.
    """
    path.open("a").close()
    lock = FileLock(path, timeout=timeout_s, poll_interval=poll_s, fallback_to_soft=False)
    try:
        lock.acquire()
    except OSError as error:  # a Timeout is one
        if isinstance(error, Timeout):
            raise
    return lock


@contextlib.contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """Lock a run folder during a block, by a lease where its filesystem has no locks.

    Raises InputError where another command holds it.
    """
    lock = _lock_or_refuse(folder)
    try:
        if lock.is_locked:
            (folder / LOCK_NAME).write_text(json.dumps(describe_this_process()), encoding="utf-8")
        with contextlib.nullcontext() if lock.is_locked else hold_lease(folder, str(folder)):
            yield
    finally:
        lock.release()


def refuse_if_locked(location: paths.PathOrUri) -> None:
    """Raise InputError for a folder that another command holds; quick, before slow imports."""
    if not paths.is_remote(location) and (Path(location) / LOCK_NAME).is_file():
        with contextlib.suppress(PermissionError):
            _lock_or_refuse(Path(location)).release()


@contextlib.contextmanager
def hold_lease(location: paths.PathOrUri, shown: str) -> Iterator[None]:
    """Hold a lease on a folder during a block; `shown` is its name in messages.

    Raises InputError where another command holds it or the storage cannot be written. A holder
    whose lease is taken over is interrupted.
    """
    lease = _Lease(location, shown)
    try:
        lease.take()
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{shown}: cannot be written: {paths.describe_error(error)}") from error
    heartbeat = threading.Thread(target=lease.keep_alive, name="lus-heartbeat", daemon=True)
    heartbeat.start()
    try:
        yield
    finally:
        lease.finished.set()
        heartbeat.join()
        lease.give_back()


def describe_holder(holder: Mapping[str, Any] | str) -> str:
    """For messages: "process 4711 on host a since 14:02 (12 min ago)"."""
    try:
        holder = json.loads(holder) if isinstance(holder, str) else holder
        began = float(holder["began"])
        clock = time.strftime("%H:%M", time.localtime(began))
        return (
            f"process {holder['process']} on host {holder['host']} since {clock} "
            f"({max(0.0, time.time() - began) / 60:.0f} min ago)"
        )
    except (KeyError, TypeError, ValueError):
        return "another command"


def describe_this_process() -> dict[str, Any]:
    return {"process": os.getpid(), "host": socket.gethostname(), "began": time.time()}


class _Lease:
    def __init__(self, location: paths.PathOrUri, shown: str) -> None:
        self.system, self.root = paths.open_filesystem(location)
        self.path, self.shown = f"{self.root}/{LEASE_NAME}", shown
        self.token = secrets.token_hex(8)
        self.own = {**describe_this_process(), "token": self.token}
        self.finished = threading.Event()

    def take(self) -> None:
        if self.system.type_name == "local":
            self.system.create_dir(self.root, recursive=True)
        if (holder := self._read()) is not None:
            age_s = self._age_s()
            if age_s < STALE_S and not _is_gone(holder):
                raise self._refusal(holder, age_s)
        self._write(self.path)
        time.sleep(SETTLE_S)
        if not self._is_own(holder := self._read()):
            raise self._refusal(holder or {}, 0.0)

    def keep_alive(self) -> None:
        while not self.finished.wait(HEARTBEAT_S):
            with contextlib.suppress(OSError, pa.ArrowException):
                holder = self._read()
                if holder is None or self._is_own(holder):
                    self._write(self.path)
                elif holder:
                    print(
                        f"lus: {self.shown}: was taken over by {describe_holder(holder)}, as no "
                        "heartbeat of this command arrived there; stopping",
                        file=sys.stderr,
                    )
                    main = threading.main_thread().ident
                    signal.pthread_kill(main or 0, signal.SIGINT)  # wakes it where it waits, too
                    return

    def give_back(self) -> None:
        with contextlib.suppress(OSError, pa.ArrowException):
            if self._is_own(self._read()):
                self.system.delete_file(self.path)

    def _is_own(self, holder: Mapping[str, Any] | None) -> bool:
        return holder is not None and holder.get("token") == self.token

    def _read(self) -> dict[str, Any] | None:
        """The holder; None without one, and empty where the file is damaged."""
        if self.system.get_file_info(self.path).type != fs.FileType.File:
            return None
        try:
            with self.system.open_input_file(self.path) as file:
                return dict(json.loads(file.read()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            return {}

    def _write(self, path: str) -> None:
        # Of one length: Arrow asks for the length first, and a write may come before it reads.
        text = json.dumps({**self.own, "beat": time.time()}).ljust(NUM_BYTES).encode()
        with self.system.open_output_stream(path) as file:
            file.write(text)

    def _age_s(self) -> float:
        """Seconds since the last heartbeat, by the storage's clock: that of a second object."""
        probe = f"{self.root}/.now-{self.token}"
        self._write(probe)
        try:
            last, now = self.system.get_file_info([self.path, probe])
        finally:
            self.system.delete_file(probe)
        return float(now.mtime_ns - (last.mtime_ns or 0)) / 1e9

    def _refusal(self, holder: Mapping[str, Any], age_s: float) -> InputError:
        return InputError(
            f"{self.shown}: {describe_holder(holder)} is running here; wait for it, end it, or "
            f"choose another --out (its last heartbeat is {age_s:.0f} s old: if it is gone, the "
            f"folder is free in {max(0.0, STALE_S - age_s):.0f} s)"
        )


def _lock_or_refuse(folder: Path) -> FileLock:
    path = folder / LOCK_NAME
    try:
        return acquire_lock(path)
    except Timeout as error:
        raise InputError(
            f"{folder}: {describe_holder(path.read_text(encoding='utf-8'))} is running here; "
            "wait for it, end it, or choose another --out"
        ) from error


def _is_gone(holder: Mapping[str, Any]) -> bool:
    """Whether the holder was a process of this machine that ended; its number may be reused."""
    try:
        if holder["host"] != socket.gethostname():
            return False
        return psutil.Process(int(holder["process"])).create_time() > float(holder["began"]) + 1
    except psutil.NoSuchProcess:
        return True
    except (KeyError, TypeError, ValueError, psutil.Error):
        return False
