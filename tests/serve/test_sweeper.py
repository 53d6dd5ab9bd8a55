"""What a killed process had started is ended; what one in good order leaves is left alone."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from serve.sweeper import GRACE_SECONDS, LOOK_SECONDS
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


@pytest.mark.parametrize(("is_killed", "lives_on"), [(True, False), (False, True)])
def test_only_children_of_a_killed_process_are_swept(tmp_path: Path, is_killed, lives_on):
    copies = tmp_path / "copies"
    copies.mkdir()
    service = subprocess.Popen(
        [sys.executable, "-c", STARTS_ONE, str(copies)], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    child = psutil.Process(int(service.stdout.readline()))  # type: ignore[union-attr]
    time.sleep(LOOK_SECONDS + 2)  # until it was seen
    if is_killed:
        os.kill(service.pid, signal.SIGKILL)
    service.communicate("\n")
    psutil.wait_procs([child], timeout=GRACE_SECONDS + 5)
    assert (child.is_running() and child.status() != psutil.STATUS_ZOMBIE) == lives_on
    assert copies.exists() == lives_on
    if lives_on:
        child.kill()
