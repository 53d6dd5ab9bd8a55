"""A lock that beats: a small file that says who is at work in a folder, and that it still lives.

    .lock.json    {"process", "host", "token", "began", "beat"}

Why: object storage and some shared filesystems lock nothing. The holder writes the file anew every
20 s; another command that finds it older than 90 s takes it over, as it does at once where the
holder was a process of its own machine that is gone. The age is told by the storage's clock.
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
from typing import Any

import psutil
import pyarrow as pa
from pyarrow import fs

from lus_ray.errors import InputError
from lus_ray.storage import paths

NAME = ".lock.json"
BEAT_S = 20.0
STALE_S = 90.0
NUM_BYTES = 512
SETTLE_S = 1.0
"""So long a writer waits before it looks whether another one wrote at the same moment."""


@contextlib.contextmanager
def hold_lease(place: paths.PathOrUri, shown: str) -> Iterator[None]:
    """Hold a folder for the length of a block; `shown` is its name in messages.

    A holder that could not beat for long and finds another one in its place is interrupted.

    Raises:
        InputError: another one holds it, or the storage cannot be written.
    """
    lock = _Lock(place, shown)
    try:
        lock.take()
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{shown}: cannot be written: {paths.describe_error(error)}") from error
    beating = threading.Thread(target=lock.beat, name="lus-beat", daemon=True)
    beating.start()
    try:
        yield
    finally:
        lock.over.set()
        beating.join()
        lock.give_back()


def describe_holder(holder: Mapping[str, Any] | str) -> str:
    """A holder in words: "process 4711 on host a since 14:02 (12 min ago)"."""
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
    """This process as a holder, from now on."""
    return {"process": os.getpid(), "host": socket.gethostname(), "began": time.time()}


class _Lock:
    def __init__(self, place: paths.PathOrUri, shown: str) -> None:
        self.system, self.root = paths.open_filesystem(place)
        self.path, self.shown = f"{self.root}/{NAME}", shown
        self.token = secrets.token_hex(8)
        self.mine = {**describe_this_process(), "token": self.token}
        self.over = threading.Event()

    def take(self) -> None:
        """Write the own name where nobody's is, or one that no longer counts."""
        if self.system.type_name == "local":
            self.system.create_dir(self.root, recursive=True)
        if (holder := self._holder()) is not None:
            age_s = self._age_s()
            if age_s < STALE_S and not _gone(holder):
                raise self._refusal(holder, age_s)
        self._write()
        time.sleep(SETTLE_S)
        holder = self._holder()
        if holder is None or holder.get("token") != self.token:
            raise self._refusal(holder or {}, 0.0)

    def beat(self) -> None:
        """Sign every `BEAT_S` seconds; storage that is away for a while is no reason to stop."""
        while not self.over.wait(BEAT_S):
            with contextlib.suppress(OSError, pa.ArrowException):
                holder = self._holder()
                if holder is None or holder.get("token") == self.token:
                    self._write()
                if not holder or holder.get("token") == self.token:
                    continue
                print(
                    f"lus: {self.shown}: was taken over by {describe_holder(holder)}, as no sign "
                    "of life of this command arrived there; stopping",
                    file=sys.stderr,
                )
                main = threading.main_thread().ident
                signal.pthread_kill(main or 0, signal.SIGINT)  # wakes it where it waits, too
                return

    def give_back(self) -> None:
        """Remove the file, if it still names this one."""
        with contextlib.suppress(OSError, pa.ArrowException):
            if (self._holder() or {}).get("token") == self.token:
                self.system.delete_file(self.path)

    def _holder(self) -> dict[str, Any] | None:
        """Who the file names; None without one, and nobody known where it is damaged."""
        if self.system.get_file_info(self.path).type != fs.FileType.File:
            return None
        try:
            with self.system.open_input_file(self.path) as file:
                return dict(json.loads(file.read()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            return {}

    def _write(self, path: str | None = None) -> None:
        # Of one length: Arrow asks for the length first, and a beat may come before it reads.
        text = json.dumps({**self.mine, "beat": time.time()}).ljust(NUM_BYTES).encode()
        with self.system.open_output_stream(path or self.path) as file:
            file.write(text)

    def _age_s(self) -> float:
        """Seconds since the last beat, by the storage's own clock: that of two objects in it."""
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


def _gone(holder: Mapping[str, Any]) -> bool:
    """Whether the holder was a process of this machine that is no more, or another by now."""
    try:
        if holder["host"] != socket.gethostname():
            return False
        return psutil.Process(int(holder["process"])).create_time() > float(holder["began"]) + 1
    except psutil.NoSuchProcess:
        return True
    except (KeyError, TypeError, ValueError, psutil.Error):
        return False
