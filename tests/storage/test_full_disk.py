"""A full or read-only disk gives one line, and earlier files stay readable."""

import errno
from functools import partial

import pytest
import torch
from click.testing import CliRunner

from lus_ray import cli
from lus_ray.data.transforms.view import View
from lus_ray.errors import CellError
from lus_ray.nets import TSM
from lus_ray.runs import predictions
from lus_ray.runs.layout import RunFolder
from lus_ray.storage import files
from lus_ray.tasks import ClipLabel
from lus_ray.training import checkpoint
from lus_ray.training import state as resume
from tests.disks import Disk, disk

__all__ = ["disk"]

pytestmark = pytest.mark.full

VIEW = View(num_frames=2, height=16, width=16, num_samples=1)
TASK = partial(ClipLabel, backbone=partial(TSM, width=8), label="severity", view=VIEW)
ABOUT = predictions.PredictionInfo("cnn", 0, "severity", ("0", "1"), False, "f")


@pytest.fixture(params=["full", "read-only"])
def spoil(request, disk: Disk):
    """Makes the disk full or read-only."""
    yield disk.fill if request.param == "full" else disk.read_only
    disk.read_only(False)


def test_a_checkpoint_that_cannot_be_written_leaves_the_earlier_one(disk, spoil):
    save(disk, 1.0)
    spoil()
    with pytest.raises(CellError, match=r"^[^\n]*(No space left|Read-only)[^\n]*$"):
        save(disk, 2.0)
    assert value(checkpoint.load(disk.path / "checkpoint")) == 1.0
    disk.read_only(False)
    (disk.path / "waste").unlink(missing_ok=True)
    save(disk, 3.0)
    assert value(checkpoint.load(disk.path / "checkpoint")) == 3.0
    assert [path.name for path in disk.path.iterdir()] == ["checkpoint"]


def test_predictions_that_cannot_be_written_leave_the_earlier_ones(disk, spoil):
    path = disk.path / "fold0.parquet"
    predictions.write(path, [], ABOUT)
    spoil()
    with pytest.raises(CellError, match=r"fold0.parquet: not written: .*; free some space"):
        predictions.write(path, [], ABOUT)
    assert predictions.read(path)[0] == ABOUT
    assert not list(disk.path.glob(".*"))


def test_a_state_that_cannot_be_written_is_a_note_and_the_earlier_one_is_read(disk, spoil):
    task, state = TASK(), resume.TrainingState(disk.path / "state.safetensors", every_s=0)
    adam = {"net": torch.optim.Adam(task.parameters())}
    first, second = (resume.EpochRecord(score, score, "") for score in (0.5, 0.6))
    state.save(task, adam, resume.TrainingProgress(past=[first]))
    spoil()
    progress = resume.TrainingProgress(past=[first, second])
    state.save(task, adam, progress)
    assert "could not be written" in progress.notes[0]
    assert resume.TrainingState(state.path).load(task, adam).past == [first]
    assert not list(disk.path.glob(".*"))


def test_a_text_that_cannot_be_written_leaves_the_earlier_one(disk, spoil):
    path = disk.path / "folds.json"
    files.write_text(path, "earlier")
    spoil()
    with pytest.raises(OSError) as caught:
        files.write_text(path, "later" * 100_000)
    assert caught.value.errno in (errno.ENOSPC, errno.EROFS)
    assert path.read_text() == "earlier"
    assert not list(disk.path.glob(".*"))


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
    line = rf"lus: {disk.path}: cannot be written to; give --out another folder"
    assert done.stderr.strip().splitlines()[-1] == line


def save(disk: Disk, number: float) -> None:
    task = TASK()
    with torch.no_grad():
        for parameter in task.parameters():
            parameter.fill_(number)
    checkpoint.save(disk.path / "checkpoint", task, checkpoint.describe(TASK), seed=0)


def value(task) -> float:
    """The number with which every parameter is filled."""
    (number,) = {float(v) for p in task.parameters() for v in p.detach().unique()}
    return number
