"""A whole campaign on a disk that fills up, and on one that nobody may write."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.disks import Disk
from tests.faults.bed import results
from tests.faults.command import Command, stamps

pytestmark = [pytest.mark.faults, pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

MOST_S = 300
LEFT = 4 << 20
"""Enough for the record and some cells, too little for all."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A disk of 60 MB; skipped where mounting is not allowed."""
    path = tmp_path / "disk"
    path.mkdir()
    try:
        _run("mount", "-t", "tmpfs", "-o", "size=60m", "tmpfs", str(path))
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small disk is not allowed here")
    yield Disk(path)
    _run("umount", "-l", str(path))


def test_a_disk_that_fills_ends_in_one_line_and_goes_on_with_room(phantom_store, tmp_path, disk):
    whole = Command(phantom_store, tmp_path / "whole")
    assert whole.wait(MOST_S) == 0
    with disk.fill().open("rb+") as waste:
        waste.truncate(waste.seek(0, 2) - LEFT)
    command = Command(phantom_store, disk.path / "run")
    assert command.wait(MOST_S) == 1
    assert not [line for line in command.lines if "Traceback" in line]
    assert command.lines[-1].startswith("lus: ")
    assert "No space left on device" in command.lines[-1]
    assert not command.left_over()
    kept = stamps(command.out)
    assert kept
    assert all(pq.read_table(path).num_rows for path in kept)
    (disk.path / "waste").unlink()
    again = Command(phantom_store, disk.path / "run")
    assert again.wait(MOST_S) == 0
    assert kept.items() <= stamps(again.out).items()
    assert results(again.out) == results(whole.out)


@pytest.mark.parametrize("begun", [False, True])
def test_a_read_only_run_folder_is_told_of_in_one_line(phantom_store, disk, begun):
    out = disk.path / "run"
    if begun:
        command = Command(phantom_store, out)
        while not stamps(out):
            assert command.process.poll() is None
        command.process.kill()
        command.wait(60)
    disk.read_only()
    command = Command(phantom_store, out)
    assert command.wait(60) in (1, 2)
    assert len(command.lines) == 1
    assert command.lines[0].startswith("lus: ")
    assert str(disk.path) in command.lines[0]
    assert "ead-only" in command.lines[0]


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
