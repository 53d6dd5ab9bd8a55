"""Work on untrusted files in forks of a child process, under limits.

The parent holds a `Sandbox`; the child is a module that calls `serve`. A request is one JSON line
with two descriptors: the file to read, and a file for the result. Each request gets a fresh fork,
so that a crash, a bomb or a hang costs one file. A result is a payload, a JSON report, and the
length of the report in eight bytes; when the fork has ended, one JSON line on the socket says how.
Nothing is pickled in either direction.

Why a fork and not a fresh interpreter: importing a codec or torch takes longer than most files.
"""

import json
import mmap
import os
import resource
import select
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from lus_ray.storage.child_process import ChildProcess

REQUEST_BYTES = 4096

Work = Callable[[BinaryIO, BinaryIO, dict[str, Any]], dict[str, Any]]
"""(file to read, file for the payload, request) -> report."""


@dataclass(frozen=True)
class ForkExit:
    """How a fork ended: killed at the time limit (`late`), or with an exit status.

    A negative status is the number of the signal that killed it.
    """

    late: bool
    status: int


class Sandbox(ChildProcess):
    """A child process that works on files one after another, each in a fresh fork."""

    def run(self, source: int, result: int, request: Mapping[str, Any]) -> ForkExit | None:
        """Work on one open file; None where the child process was lost.

        `request` holds `seconds` of wall time, `memory_bytes`, and what the work needs.
        """
        connection = self.start()
        try:
            socket.send_fds(connection, [json.dumps(request).encode()], [source, result])
            reply = connection.recv(REQUEST_BYTES)
        except OSError:
            reply = b""
        if not reply:
            self.close()
            return None
        return ForkExit(**json.loads(reply))


def open_scratch() -> BinaryIO:
    """A nameless file for a result: in memory where the system has that, else on disk."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("result"), "w+b")
    return tempfile.TemporaryFile()


def read_result(result: int) -> tuple[mmap.mmap, int, dict[str, Any]]:
    """The content of a result, the length of its payload, and its report; ValueError if cut."""
    size = os.fstat(result).st_size
    if size < 8:
        raise ValueError("the result is cut short")
    content = mmap.mmap(result, size, access=mmap.ACCESS_COPY)
    end = size - 8
    start = end - int.from_bytes(content[end:], "little")
    return content, start, json.loads(content[max(0, start) : end])


def serve(
    work: Work, *, prepare: Callable[[int], object] = lambda source: None, base_bytes: int = 0
) -> None:
    """Answer requests on the socket named by the first argument until the other side closes it.

    `prepare` runs before each fork, for imports that all forks share. The address space of a fork
    is limited to `base_bytes` plus the `memory_bytes` of the request, what it writes to its
    `result_bytes` if given.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        while True:
            text, descriptors, _, _ = socket.recv_fds(connection, REQUEST_BYTES, 2)
            if not text:
                return
            request = json.loads(text)
            prepare(descriptors[0])
            end = _fork(connection, request, work, base_bytes, *descriptors)
            for descriptor in descriptors:
                os.close(descriptor)
            if end is None:
                return
            connection.sendall(json.dumps(end).encode() + b"\n")


def _fork(
    connection: socket.socket,
    request: dict[str, Any],
    work: Work,
    base_bytes: int,
    source: int,
    result: int,
) -> dict[str, Any] | None:
    """Work in a fork and wait for its end; None when the requester has gone away.

    The fork alone holds the write end of a pipe, which ends with it: unlike waiting for a process,
    waiting for a pipe has a deadline.
    """
    alive, held = os.pipe()
    process = os.fork()
    if process == 0:
        connection.close()
        _work_and_exit(request, work, base_bytes, source, result)
    os.close(held)
    waited_for: list[int | socket.socket] = [alive, connection]
    ready, _, _ = select.select(waited_for, [], [], request["seconds"])
    if alive not in ready:
        os.kill(process, signal.SIGKILL)
    os.close(alive)
    _, status = os.waitpid(process, 0)
    if connection in ready and alive not in ready:
        return None
    return {"late": not ready, "status": os.waitstatus_to_exitcode(status)}


def _work_and_exit(
    request: dict[str, Any], work: Work, base_bytes: int, source: int, result: int
) -> None:
    code = 1
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (base_bytes + request["memory_bytes"],) * 2)
        if "result_bytes" in request:
            resource.setrlimit(resource.RLIMIT_FSIZE, (request["result_bytes"],) * 2)
        with os.fdopen(source, "rb") as file, os.fdopen(result, "wb", buffering=0) as out:
            text = json.dumps(work(file, out, request)).encode()
            out.write(text + len(text).to_bytes(8, "little"))
        code = 0
    finally:
        os._exit(code)
