"""A full or read-only disk gives one line, and earlier files stay readable."""

import contextlib
import errno

import pytest
from click.testing import CliRunner

from lus_ray import cli
from lus_ray.errors import CellError
from lus_ray.runs.layout import RunFolder
from tests.disks import Disk, disk
from tests.storage.test_kill_while_writing import KINDS

__all__ = ["disk"]

pytestmark = pytest.mark.full


@pytest.fixture(params=["full", "read-only"])
def spoil(request, disk: Disk):
    """Makes the disk full or read-only."""
    yield disk.fill if request.param == "full" else disk.read_only
    disk.read_only(False)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_cannot_be_written_leaves_the_earlier_one(disk, spoil, kind):
    write, read = KINDS[kind]
    path = disk.path / kind
    write(path, 1)
    spoil()
    refused = pytest.raises((CellError, OSError), match=r"^[^\n]*(No space left|Read-only)[^\n]*$")
    with contextlib.nullcontext() if kind == "state" else refused:  # training goes on
        write(path, 2)
    assert read(path) == 1
    disk.read_only(False)
    (disk.path / "waste").unlink(missing_ok=True)
    write(path, 3)
    assert read(path) == 3
    assert [file.name for file in disk.path.iterdir()] == [kind]


def test_a_read_only_run_folder_is_refused_in_one_line(disk, phantom_store):
    disk.read_only()
    with pytest.raises(OSError) as caught, RunFolder(disk.path).lock():
        pass
    assert caught.value.errno == errno.EROFS
    out = disk.path / "run"
    command = ["run", "biomarkers", "--smoke", "--data", str(phantom_store), "--out", str(out)]
    done = CliRunner().invoke(cli.main, command)
    disk.read_only(False)
    assert done.exit_code in (1, 2)
    line = f"lus: {disk.path}: cannot be written to (Read-only file system); "
    line += "give --out another folder"
    assert done.stderr.strip().splitlines()[-1] == line
