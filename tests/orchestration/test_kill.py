"""A command that is killed at any moment resumes and ends with the same numbers."""

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
    start_s = time.monotonic()
    assert start(out, phantom_store).wait(timeout=280) == 0
    return results(out), time.monotonic() - start_s


@pytest.mark.timeout(1800)
def test_a_command_killed_again_and_again_ends_with_the_same_numbers(
    whole, phantom_store, tmp_path
):
    expected, seconds = whole
    rng = random.Random(0)
    for number in range(NUM_KILLS + 1):
        before = finished_cells(tmp_path)
        command = start(tmp_path, phantom_store)
        if number < NUM_KILLS:
            time.sleep(rng.uniform(0.1, 0.9) * seconds)
            command.send_signal(signal.SIGKILL)
        assert (command.wait(timeout=280) == 0) or number < NUM_KILLS
        assert before.items() <= finished_cells(tmp_path).items()
    assert results(tmp_path) == expected
    assert not list(tmp_path.glob("predictions/*/.fold*"))


def test_an_interrupt_ends_the_command_with_its_own_code_and_every_process(phantom_store, tmp_path):
    command = start(tmp_path, phantom_store)
    deadline = time.monotonic() + 120
    while not finished_cells(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.5)
    started = psutil.Process(command.pid).children(recursive=True)
    assert len(started) > 3
    command.send_signal(signal.SIGINT)
    assert command.wait(timeout=60) == 130
    _, alive = psutil.wait_procs(started, timeout=30)
    assert alive == []
