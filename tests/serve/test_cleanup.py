"""Children of a killed process are ended; those of a process that ended normally are not."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from tests.serve.service import ROOT

pytestmark = pytest.mark.slow
SECONDS = 0.5
PARENT = """
import subprocess, sys
from pathlib import Path
from serve.cleanup import clean_up_if_killed
with clean_up_if_killed(Path(sys.argv[1]), seconds=float(sys.argv[2])):
    child = subprocess.Popen(["sleep", "60"], start_new_session=True, stdout=subprocess.DEVNULL)
    print(child.pid, flush=True)
    sys.stdin.readline()
"""


def test_only_children_of_a_killed_process_are_ended(tmp_path):
    started = {}
    for how in ("killed", "ended"):
        (tmp_path / how).mkdir()
        parent = subprocess.Popen(
            [sys.executable, "-c", PARENT, str(tmp_path / how), str(SECONDS)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip
        assert parent.stdout is not None
        started[how] = parent, psutil.Process(int(parent.stdout.readline()))
    time.sleep(6 * SECONDS)  # until the children were recorded
    os.kill(started["killed"][0].pid, signal.SIGKILL)
    for parent, _ in started.values():
        parent.communicate("\n")
    children = {how: child for how, (_, child) in started.items()}
    psutil.wait_procs([children["killed"]], timeout=10)
    alive = [how for how, p in children.items() if p.is_running() and p.status() != "zombie"]
    assert alive == ["ended"]
    assert [folder.name for folder in tmp_path.iterdir()] == ["ended"]
    children["ended"].kill()
