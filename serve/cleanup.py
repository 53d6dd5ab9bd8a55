"""Ends what a service leaves behind that was itself killed: two agents of Ray live on otherwise.

    python -m serve.cleanup FD PID FOLDER

`FD` is a pipe that ends when the service `PID` does, however that happens. Processes that it had
started and that live on a few seconds later are killed, and `FOLDER`, its copies of checkpoints,
is removed.
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

LOOK_SECONDS = 5.0
GRACE_SECONDS = 5.0
IN_ORDER = b"."
"""Comes through the pipe where the service has ended everything by itself."""


@contextlib.contextmanager
def sweeping(folder: Path) -> Iterator[None]:
    """A sweeper for this process, which has nothing to do when the block ends in order."""
    theirs, ours = os.pipe()
    command = [sys.executable, "-m", "serve.cleanup", str(theirs), str(os.getpid()), str(folder)]
    sweeper = subprocess.Popen(
        command, pass_fds=[theirs], start_new_session=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, cwd=Path(__file__).resolve().parents[1],
    )  # fmt: skip
    os.close(theirs)
    try:
        yield
    finally:
        os.write(ours, IN_ORDER)
        os.close(ours)
        sweeper.wait()


def main(pipe: int, service: int, folder: Path) -> None:
    """Remember what the service starts until it ends, then sweep."""
    started: set[psutil.Process] = set()
    while not select.select([pipe], [], [], LOOK_SECONDS)[0]:
        with contextlib.suppress(psutil.Error):
            started |= set(psutil.Process(service).children(recursive=True))
    if os.read(pipe, 1) == IN_ORDER:
        return
    shutil.rmtree(folder, ignore_errors=True)
    started.discard(psutil.Process())
    _, left = psutil.wait_procs(started, timeout=GRACE_SECONDS)
    for process in left:
        with contextlib.suppress(psutil.Error):  # told from a newer one with the same number
            process.kill()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
