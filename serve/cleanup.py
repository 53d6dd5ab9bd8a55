"""Ends the processes of a killed service; two agents of Ray would outlive it.

    python -m serve.cleanup FD PID FOLDER SECONDS

`FD` is a pipe that closes when the service `PID` ends, for any reason. Its child processes that
still run `SECONDS` later are killed, and `FOLDER` with its copies of checkpoints is removed.
"""

import contextlib
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

SECONDS = 5.0
"""Between two looks at the children of the service, and for them to end by themselves."""
CLEAN_EXIT = b"."
"""Sent through the pipe by a service that ended all its processes itself."""


@contextlib.contextmanager
def clean_up_if_killed(folder: Path, *, seconds: float = SECONDS) -> Iterator[None]:
    """Start a cleanup process for this process; it does nothing when the block ends normally."""
    read_end, write_end = os.pipe()
    args = map(str, (read_end, os.getpid(), folder, seconds))
    cleanup = subprocess.Popen(
        [sys.executable, "-m", "serve.cleanup", *args], pass_fds=[read_end],
        start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        cwd=Path(__file__).resolve().parents[1],
    )  # fmt: skip
    os.close(read_end)
    try:
        yield
    finally:
        os.write(write_end, CLEAN_EXIT)
        os.close(write_end)
        cleanup.wait()


def main(pipe: int, service: int, folder: Path, seconds: float) -> None:
    """Record the children of the service until it ends, then clean up."""
    children: set[psutil.Process] = set()
    while not select.select([pipe], [], [], seconds)[0]:
        with contextlib.suppress(psutil.Error):
            children |= set(psutil.Process(service).children(recursive=True))
    if os.read(pipe, 1) == CLEAN_EXIT:
        return
    shutil.rmtree(folder, ignore_errors=True)
    children.discard(psutil.Process())
    _, left = psutil.wait_procs(children, timeout=seconds)
    for process in left:
        with contextlib.suppress(psutil.Error):  # psutil notices a reused process id
            process.kill()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4]))
