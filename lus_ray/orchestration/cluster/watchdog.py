"""Ends the command within seconds and with one line when its Ray cluster goes away.

Why by force: without its head, a call of Ray blocks for a minute and then aborts the process with
a long trace. Finished cells are in the run folder, and the same command resumes from there.
"""

import contextlib
import os
import socket
import sys
import threading
import time

import psutil
import ray

from lus_ray.errors import InputError

OWN_POLL_S, JOINED_POLL_S = 0.5, 5.0
ENDED_S = 2.0
"""Grace period after a process of Ray ended, in which Ray itself may report the reason."""
SILENT_S = 45.0
"""Patience with a head that does not answer and may come back; Ray's own is a minute."""
NOTICE_S, START_NOTICE_S = 10.0, 8.0
PROCESSES = ("gcs_server", "raylet")


class ClusterWatchdog:
    """Watches the cluster of this driver from a thread; a context that begins before Ray starts.

    Watched are the head's processes of an own cluster; of a joined one, the head's port and the
    raylet of this node.
    """

    def __init__(self, *, own: bool) -> None:
        self.own, self.poll_s = own, OWN_POLL_S if own else JOINED_POLL_S
        self.processes: dict[str, psutil.Process] = {}
        self.head: tuple[str, int] | None = None
        self.running, self.stopped = threading.Event(), threading.Event()
        self.lock = threading.Lock()
        self.thread = threading.Thread(target=self._poll, name="lus-watchdog", daemon=True)

    def __enter__(self) -> "ClusterWatchdog":
        self.thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        """End the process here if the block failed because the cluster is gone."""
        is_expected = kind is None or issubclass(kind, InputError)
        if not is_expected and (reason := self._find_loss()):
            self._end(reason)
        self.stopped.set()
        self.thread.join()

    def attach(self) -> None:
        """Note that Ray runs; of a joined cluster, find its head and the raylet of this node."""
        self.running.set()
        if self.own:
            return
        context = ray.get_runtime_context()
        host, _, port = str(context.gcs_address).rpartition(":")
        self.head = (host.strip("[]"), int(port))
        node_id = context.get_node_id()
        sockets = [n["RayletSocketName"] for n in ray.nodes() if n["NodeID"] == node_id]
        if sockets and (raylet := find_raylet(sockets[0])) is not None:
            self.processes["raylet"] = raylet

    def _poll(self) -> None:
        lost_since, notified, began = 0.0, False, time.monotonic()
        next_notice_s = START_NOTICE_S
        while not self.stopped.wait(self.poll_s):
            start_s = 0.0 if self.running.is_set() else time.monotonic() - began
            if not self.own and start_s > SILENT_S:
                self._end(f"no response for {SILENT_S:.0f} s")
            if start_s > next_notice_s:
                _print(f"Ray has been starting for {next_notice_s:.0f} s; still waiting")
                next_notice_s += START_NOTICE_S
            if not (reason := self._find_loss()):
                lost_since, notified = 0.0, False
                continue
            lost_since = lost_since or time.monotonic()
            lost_s = time.monotonic() - lost_since
            if lost_s > (ENDED_S if "ended" in reason else SILENT_S):
                self._end(reason)
            if lost_s > NOTICE_S and not notified:
                notified = True
                _print(f"the Ray cluster: {reason}; waiting for it")

    def _find_loss(self) -> str:
        """Which part of the cluster is gone; empty while all of it is there."""
        if self.own and len(self.processes) < len(PROCESSES):
            for process in find_own_processes():
                self.processes.setdefault(process.name(), process)
        for name, process in self.processes.items():
            if not _is_alive(process):
                return f"its {name} ended"
        if self.head is not None and not _is_listening(self.head):
            return f"nobody answers at {self.head[0]}:{self.head[1]}"
        return ""

    def _end(self, reason: str) -> None:
        """Exit without Ray's shutdown, which waits for what is gone."""
        with self.lock:
            if sys.stderr.isatty():
                sys.stderr.write("\x1b[?25h\n")  # the progress bar hides the cursor
            event = "the Ray cluster went away" if self.running.is_set() else "Ray did not start"
            _print(f"lus: {event} ({reason}); run the same command again to resume")
            os._exit(1)


def find_raylet(socket_name: str) -> psutil.Process | None:
    """The raylet with this socket. Another node on this machine has the same name and a number."""
    option = f"--raylet_socket_name={socket_name}"
    for process in psutil.process_iter(["name", "cmdline"]):
        if process.info["name"] == "raylet" and option in (process.info["cmdline"] or ()):
            return process
    return None


def find_own_processes() -> list[psutil.Process]:
    processes = []
    for process in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if process.name() in PROCESSES:
                processes.append(process)
    return processes


def _print(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _is_listening(address: tuple[str, int]) -> bool:
    try:
        with socket.create_connection(address, timeout=5):
            return True
    except OSError:
        return False
