"""What a killed process had started is ended; what one in good order leaves is left alone."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from serve.cleanup import GRACE_SECONDS, LOOK_SECONDS
from tests.serve.service import ROOT

pytestmark = pytest.mark.slow
STARTS_ONE = """
import subprocess, sys, time
from pathlib import Path
from serve.sweeper import sweeping
with sweeping(Path(sys.argv[1])):
    child = subprocess.Popen(["sleep", "60"], start_new_session=True, stdout=subprocess.DEVNULL)
    print(child.pid, flush=True)
    sys.stdin.readline()
"""


def test_only_children_of_a_killed_process_are_swept(tmp_path: Path):
    killed, ended = started(tmp_path / "killed"), started(tmp_path / "ended")
    time.sleep(LOOK_SECONDS + 2)  # until they were seen
    os.kill(killed.service.pid, signal.SIGKILL)
    for one in (killed, ended):
        one.service.communicate("\n")
    psutil.wait_procs([killed.child, ended.child], timeout=GRACE_SECONDS + 5)
    assert not lives(killed.child)
    assert not killed.copies.exists()
    assert lives(ended.child)
    assert ended.copies.exists()
    ended.child.kill()


@dataclass
class Started:
    """A process that is swept, what it started, and its copies."""

    service: subprocess.Popen[str]
    child: psutil.Process
    copies: Path


def started(copies: Path) -> Started:
    copies.mkdir()
    service = subprocess.Popen(
        [sys.executable, "-c", STARTS_ONE, str(copies)], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    assert service.stdout is not None
    return Started(service, psutil.Process(int(service.stdout.readline())), copies)


def lives(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
