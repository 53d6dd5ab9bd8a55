"""A cluster that goes away under its driver ends the command in seconds, with one line.

Why by force: without its head, a call of Ray waits for a minute and then aborts the process over
many lines. What is finished lies in the run folder, and the same command goes on from there.
"""

import os
import socket
import sys
import threading
import time

import psutil
import ray

from lus_ray.errors import InputError

OWN_LOOK_S, JOINED_LOOK_S = 0.5, 5.0
ENDED_S = 2.0
"""So long a process of Ray may be gone, while Ray itself may still tell why."""
SILENT_S = 45.0
"""Patience with a head that does not answer, as it may come back; Ray's own is a minute."""
SAY_S, START_S = 10.0, 20.0
PARTS = ("gcs_server", "raylet")


class ClusterWatchdog:
    """Looks after the cluster of this driver, in a thread, from before Ray starts; a context.

    Of a cluster of one's own, the head's processes are children of this one. Of one that was
    joined: whether somebody listens at its head, and the process of this node.
    """

    def __init__(self, *, own: bool) -> None:
        self.own, self.every_s = own, OWN_LOOK_S if own else JOINED_LOOK_S
        self.parts: dict[str, psutil.Process] = {}
        self.head: tuple[str, int] | None = None
        self.running, self.over = threading.Event(), threading.Event()
        self.lock = threading.Lock()
        self.thread = threading.Thread(target=self._look, name="lus-guard", daemon=True)

    def __enter__(self) -> "ClusterWatchdog":
        self.thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        """Where the block failed since the cluster is gone, end here: Ray could not shut down."""
        ours = kind is None or issubclass(kind, InputError)
        if not ours and (why := self._gone()):
            self._end(why)
        self.over.set()
        self.thread.join()

    def started(self) -> None:
        """Ray runs; of a cluster that was joined, know the head and this node's process."""
        self.running.set()
        if self.own:
            return
        host, _, port = str(ray.get_runtime_context().gcs_address).rpartition(":")
        self.head = (host.strip("[]"), int(port))
        socket_name = ray._private.worker._global_node.raylet_socket_name
        if (raylet := find_raylet(str(socket_name))) is not None:
            self.parts["raylet"] = raylet

    def _look(self) -> None:
        since, told, began = 0.0, False, time.monotonic()
        next_s = START_S
        while not self.over.wait(self.every_s):
            if not self.running.is_set() and time.monotonic() - began > next_s:
                _tell(f"Ray has been starting for {next_s:.0f} s; still waiting for it")
                next_s *= 2
            if not (why := self._gone()):
                since, told = 0.0, False
                continue
            since = since or time.monotonic()
            for_s = time.monotonic() - since
            if for_s > (ENDED_S if "ended" in why else SILENT_S):
                self._end(why)
            if for_s > SAY_S and not told:
                told = True
                _tell(f"the Ray cluster: {why}; waiting for it")

    def _gone(self) -> str:
        """What of the cluster is gone, in words; empty while all is there."""
        if self.own and len(self.parts) < len(PARTS):
            for process in _children():
                self.parts.setdefault(process.name(), process)
        for name, process in self.parts.items():
            if not _lives(process):
                return f"its {name} ended"
        if self.head is not None and not _listens(self.head):
            return f"nobody answers at {self.head[0]}:{self.head[1]}"
        return ""

    def _end(self, why: str) -> None:
        """Leave the process without Ray's own farewell, which waits for what is gone."""
        with self.lock:
            if sys.stderr.isatty():
                sys.stderr.write("\x1b[?25h\n")  # the bar hides the cursor
            what = "the Ray cluster went away" if self.running.is_set() else "Ray did not start"
            _tell(f"lus: {what} ({why}); run the same command again to go on")
            os._exit(1)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def find_raylet(socket_name: str) -> psutil.Process | None:
    """The raylet of this node. Another node on this machine adds a number to the same name."""
    option = f"--raylet_socket_name={socket_name}"
    for process in psutil.process_iter(["name", "cmdline"]):
        if process.info["name"] == "raylet" and option in (process.info["cmdline"] or ()):
            return process
    return None


def _children() -> list[psutil.Process]:
    """The head's processes of a cluster that this process started."""
    found = []
    for process in psutil.Process().children():
        try:
            if process.name() in PARTS:
                found.append(process)
        except psutil.Error:
            continue
    return found


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _listens(address: tuple[str, int]) -> bool:
    try:
        with socket.create_connection(address, timeout=5):
            return True
    except OSError:
        return False
