"""A child process that runs a module of this project and shares a socket with its parent."""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

PACKAGE_ROOT = Path(__file__).resolve().parents[2]


class ChildProcess:
    """`module` runs in a fresh interpreter; its first argument is the number of its socket.

    The process starts with its first use unless it was started before, and again after it was lost.
    It ends when the socket closes, so it does not outlive its parent. Not thread-safe: give each
    thread its own.
    """

    def __init__(self, module: str) -> None:
        self.module = module
        self.process: subprocess.Popen[bytes] | None = None
        self.connection: socket.socket | None = None

    def __enter__(self) -> Any:  # the subclass; beartype cannot check Self
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def stop(self) -> None:
        """Make a request that another thread waits for fail at once."""
        if self.connection is not None:
            with suppress(OSError):  # it ended by itself
                self.connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
        if self.process is not None:
            self.process.wait()
        self.connection = self.process = None

    def start(self) -> socket.socket:
        """Start the child process unless it runs."""
        if self.connection is not None:
            return self.connection
        ours, theirs = socket.socketpair()
        # One thread each: the parent's workers keep every core busy, and threads do not survive
        # a fork. A session of its own, because the parent handles Ctrl-C.
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        # Huge pages where the system allows them: a fork writes thousands of new pages for a clip.
        tunables = [os.environ.get("GLIBC_TUNABLES", ""), "glibc.malloc.hugetlb=1"]
        environment["GLIBC_TUNABLES"] = ":".join(filter(None, tunables))
        paths = [str(PACKAGE_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment["PYTHONPATH"] = os.pathsep.join(paths)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", self.module, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
            )
        self.connection = ours
        return ours


@runtime_checkable
class Stoppable(Protocol):
    """A child process, or what uses one."""

    def stop(self) -> None: ...

    def close(self) -> None: ...


def shut_down(threads: ThreadPoolExecutor, processes: Sequence[Stoppable]) -> None:
    """End threads and the processes that they use, also after a failure or Ctrl-C.

    Waiting work does not start, running requests fail, and all processes are reaped.
    """
    threads.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.stop()
    threads.shutdown()
    for process in processes:
        process.close()


def count_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
