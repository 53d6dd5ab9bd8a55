"""A campaign on a disk that fills up, and on one that is read-only."""

import pyarrow.parquet as pq
import pytest

from tests.disks import disk as disk
from tests.orchestration.faults.command import Command, finished_cells, results

pytestmark = [
    pytest.mark.full, pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900),
    # A campaign needs 200 MB before it starts.
    pytest.mark.parametrize("disk", ["300m"], indirect=True),
]  # fmt: skip
TIMEOUT_S = 300


def test_a_full_disk_is_one_line_and_the_run_resumes_with_space(phantom_store, tmp_path, disk):
    whole = Command(phantom_store, tmp_path / "whole")
    assert whole.wait(TIMEOUT_S) == 0
    command = Command(phantom_store, disk.path / "run")
    command.wait_for_a_cell()
    waste = disk.fill()
    assert command.wait(TIMEOUT_S) == 1
    assert not [line for line in command.lines if "Traceback" in line]
    assert command.lines[-1].startswith("lus: ")
    assert "No space left on device" in command.lines[-1]
    assert not command.left_over()
    kept = finished_cells(command.out)
    assert kept
    assert all(pq.read_table(path).num_rows for path in kept)
    waste.unlink()
    again = Command(phantom_store, disk.path / "run")
    assert again.wait(TIMEOUT_S) == 0
    assert kept.items() <= finished_cells(again.out).items()
    assert results(again.out) == results(whole.out)


@pytest.mark.parametrize("exists", [False, True])
def test_a_read_only_run_folder_is_an_error_of_one_line(phantom_store, disk, exists):
    out = disk.path / "run"
    if exists:
        command = Command(phantom_store, out)
        command.wait_for_a_cell()
        command.process.kill()
        command.wait(TIMEOUT_S)
    disk.read_only()
    command = Command(phantom_store, out)
    assert command.wait(TIMEOUT_S) == 2
    folder = out if exists else disk.path
    assert command.lines == [f"lus: {folder}: cannot be written to; give --out another folder"]
