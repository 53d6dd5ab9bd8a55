"""The process that opens a video: it forks once per file, and the fork may die.

    python -m lus_ray.data.decoding.sandbox FD

`FD` is one end of a socket pair. Each request is one JSON line with two descriptors, the file to
read and the file to answer into. A fresh fork decodes it under limits of memory and time; the
process itself only waits, so that a crash, a bomb or a hang costs one file. The fork writes grey
pixels, then a JSON report, then the report's length in eight bytes; when the fork has ended, one
JSON line on the socket says how. Nothing is pickled in either direction.

Why a fork and not a fresh interpreter: importing PyAV costs as much as decoding 300 frames.
"""

import importlib
import json
import os
import resource
import select
import signal
import socket
import sys
from types import ModuleType
from typing import Any, BinaryIO

from av.error import FFmpegError

from lus_ray.data.decoding import file_types
from lus_ray.data.decoding.video import write_frames
from lus_ray.errors import DecodeError

REQUEST_BYTES = 4096


def serve(connection: socket.socket) -> None:
    """Answer requests until the other side closes the socket."""
    while True:
        request, descriptors, _, _ = socket.recv_fds(connection, REQUEST_BYTES, 2)
        if not request:
            return
        source, answer = descriptors
        if file_types.is_dicom(source):
            _dicom_frames()  # imported here once, and not in every fork
        report = _in_a_fork(connection, json.loads(request), source, answer)
        os.close(source)
        os.close(answer)
        if report is None:
            return
        connection.sendall(json.dumps(report).encode() + b"\n")


def _in_a_fork(
    connection: socket.socket, request: dict[str, Any], source: int, answer: int
) -> dict[str, Any] | None:
    """Decode in a fork and wait for its end; None when the requester has gone away.

    The fork alone holds the write end of a pipe: the pipe ends when the fork does, however it
    dies, and waiting for that works with a deadline where waiting for a process does not.
    """
    alive, held = os.pipe()
    process = os.fork()
    if process == 0:
        connection.close()
        _decode_and_exit(request, source, answer)
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


def _decode_and_exit(request: dict[str, Any], source: int, answer: int) -> None:
    code = 1
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (request["memory_bytes"],) * 2)
        with os.fdopen(source, "rb") as file, os.fdopen(answer, "wb", buffering=0) as out:
            report = _report(file, out, request)
            text = json.dumps(report).encode()
            out.write(text + len(text).to_bytes(8, "little"))
        code = 0
    finally:
        os._exit(code)


def _dicom_frames() -> ModuleType:
    """Only who has DICOM files waits for their reader."""
    return importlib.import_module("lus_ray.data.decoding.dicom_pixels")


def _report(file: BinaryIO, out: BinaryIO, request: dict[str, Any]) -> dict[str, Any]:
    try:
        if file_types.is_dicom(file.fileno()):
            return _dicom_frames().write_frames(file, out, request)
        return write_frames(file, out, request)
    except DecodeError as error:
        return {"error": str(error), "kind": error.kind}
    except MemoryError:
        size = request["memory_bytes"] >> 20
        return {"error": f"needs more than {size} MiB to decode", "kind": "refused"}
    except FFmpegError as error:
        return {"error": f"cannot be decoded ({error.strerror})", "kind": "unreadable"}
    except (OSError, ValueError, EOFError) as error:
        cause = f"{type(error).__name__}: {error}"
        return {"error": f"cannot be decoded ({cause})", "kind": "unreadable"}


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    with socket.socket(fileno=int(sys.argv[1])) as parent:
        serve(parent)
