"""A whole campaign on a disk that fills up, and on one that nobody may write."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.disks import Disk
from tests.orchestration.faults.command import Command, stamps
from tests.orchestration.faults.runner import results

pytestmark = [pytest.mark.full, pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

TIMEOUT_S = 300
SIZE = "300m"
"""A campaign asks for 200 MB before it begins."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A small disk; skipped where mounting is not allowed."""
    path = tmp_path / "disk"
    path.mkdir()
    try:
        _run("mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(path))
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small disk is not allowed here")
    yield Disk(path)
    _run("umount", "-l", str(path))


def test_a_disk_that_fills_ends_in_one_line_and_goes_on_with_room(phantom_store, tmp_path, disk):
    whole = Command(phantom_store, tmp_path / "whole")
    assert whole.wait(TIMEOUT_S) == 0
    command = Command(phantom_store, disk.path / "run")
    _wait_for_a_cell(command)
    waste = disk.fill()
    assert command.wait(TIMEOUT_S) == 1
    assert not [line for line in command.lines if "Traceback" in line]
    assert command.lines[-1].startswith("lus: ")
    assert "No space left on device" in command.lines[-1]
    assert not command.left_over()
    kept = stamps(command.out)
    assert kept
    assert all(pq.read_table(path).num_rows for path in kept)
    waste.unlink()
    again = Command(phantom_store, disk.path / "run")
    assert again.wait(TIMEOUT_S) == 0
    assert kept.items() <= stamps(again.out).items()
    assert results(again.out) == results(whole.out)


@pytest.mark.parametrize("begun", [False, True])
def test_a_read_only_run_folder_is_told_of_in_one_line(phantom_store, disk, begun):
    out = disk.path / "run"
    if begun:
        command = Command(phantom_store, out)
        _wait_for_a_cell(command)
        command.process.kill()
        command.wait(TIMEOUT_S)
    disk.read_only()
    command = Command(phantom_store, out)
    assert command.wait(TIMEOUT_S) in (1, 2)
    assert len(command.lines) == 1
    assert command.lines[0].startswith("lus: ")
    assert str(disk.path) in command.lines[0]
    assert "ead-only" in command.lines[0]


def _wait_for_a_cell(command: Command) -> None:
    """Until one is finished."""
    while not stamps(command.out):
        assert command.process.poll() is None
        time.sleep(0.05)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
