"""A command that is killed at any moment: run again it finishes, and ends with the same numbers."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.conftest import ROOT
from tests.orchestration.faults.command import finished_cells, results

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.full]

ARMS = "biomarkers,e2e severity,RF on biomarkers*,prior*"
NUM_KILLS = int(os.environ.get("LUS_TEST_KILLS", "2"))


def start(out: Path, data: Path) -> subprocess.Popen[bytes]:
    words = ["run", "biomarkers", "--smoke", "--data", data, "--out", out, "--arms", ARMS]
    words += ["--folds", "0,1"]
    return subprocess.Popen(
        [sys.executable, "-m", "lus_ray.cli", *map(str, words)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT,
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(phantom_store, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    began = time.monotonic()
    assert start(out, phantom_store).wait(timeout=280) == 0
    return results(out), time.monotonic() - began


@pytest.mark.timeout(1800)
def test_killed_again_and_again_it_ends_with_the_same_numbers(whole, phantom_store, tmp_path):
    expected, seconds = whole
    moments = random.Random(0)
    for _ in range(NUM_KILLS):
        before = finished_cells(tmp_path)
        command = start(tmp_path, phantom_store)
        time.sleep(moments.uniform(0.1, 0.9) * seconds)
        command.send_signal(signal.SIGKILL)
        command.wait()
        after = finished_cells(tmp_path)
        assert before.items() <= after.items()
    before = finished_cells(tmp_path)
    assert start(tmp_path, phantom_store).wait(timeout=280) == 0
    after = finished_cells(tmp_path)
    assert before.items() <= after.items()
    assert results(tmp_path) == expected
    assert not list(tmp_path.glob("predictions/*/.fold*"))


def test_an_interrupt_ends_soon_with_its_own_code_and_leaves_no_process(phantom_store, tmp_path):
    command = start(tmp_path, phantom_store)
    deadline = time.monotonic() + 120
    while not finished_cells(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.5)
    started = psutil.Process(command.pid).children(recursive=True)
    assert len(started) > 3
    command.send_signal(signal.SIGINT)
    assert command.wait(timeout=60) == 130
    _, left = psutil.wait_procs(started, timeout=30)
    assert left == []
