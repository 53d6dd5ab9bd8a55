"""A disk without room, or read-only: one line, and what was there before can still be read."""

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
    """Makes the disk one that takes no more."""
    yield disk.fill if request.param == "full" else disk.read_only
    disk.read_only(False)


@pytest.mark.parametrize("error", ["No space left", "Read-only"])
def test_a_checkpoint_that_finds_no_room_leaves_the_earlier_one(disk, error):
    save(disk, 1.0)
    if error == "Read-only":
        disk.read_only()
    else:
        disk.fill()
    with pytest.raises(CellError, match=error) as told:
        save(disk, 2.0)
    assert "\n" not in str(told.value)
    assert value(checkpoint.load(disk.path / "checkpoint")) == 1.0
    disk.read_only(False)
    (disk.path / "waste").unlink(missing_ok=True)
    save(disk, 3.0)
    assert value(checkpoint.load(disk.path / "checkpoint")) == 3.0
    assert left(disk) == ["checkpoint"]


def test_predictions_that_find_no_room_leave_the_earlier_ones(disk, spoil):
    path = disk.path / "fold0.parquet"
    predictions.write(path, [], ABOUT)
    spoil()
    with pytest.raises(CellError, match=r"fold0.parquet: not written: .*; make room"):
        predictions.write(path, [], ABOUT)
    assert predictions.read(path)[0] == ABOUT
    assert not list(disk.path.glob(".*"))


def test_a_state_that_finds_no_room_is_a_note_and_the_earlier_one_is_read(disk, spoil):
    task, state = TASK(), resume.TrainingState(disk.path / "state.safetensors", every_s=0)
    adam = {"net": torch.optim.Adam(task.parameters())}
    state.save(task, adam, resume.TrainingProgress(past=[past(0.5)]))
    spoil()
    done = resume.TrainingProgress(past=[past(0.5), past(0.6)])
    state.save(task, adam, done)
    assert "could not be written" in done.notes[0]
    assert resume.TrainingState(state.path).load(task, adam).past == [past(0.5)]
    assert not list(disk.path.glob(".*"))


def test_a_text_that_finds_no_room_leaves_the_earlier_one(disk, spoil):
    path = disk.path / "folds.json"
    files.write_text(path, "earlier")
    spoil()
    with pytest.raises(OSError) as told:
        files.write_text(path, "later" * 100_000)
    assert told.value.errno in (errno.ENOSPC, errno.EROFS)
    assert path.read_text() == "earlier"
    assert not list(disk.path.glob(".*"))


def test_a_read_only_run_folder_is_refused_in_one_line(disk):
    disk.read_only()
    with pytest.raises(OSError) as told, RunFolder(disk.path).lock():
        pass
    assert told.value.errno == errno.EROFS
    disk.read_only(False)


def test_the_command_ends_with_one_line_where_no_run_folder_can_be_made(disk, phantom_store):
    disk.read_only()
    out = disk.path / "run"
    command = ["run", "biomarkers", "--smoke", "--data", str(phantom_store), "--out", str(out)]
    ended = CliRunner().invoke(cli.main, command)
    disk.read_only(False)
    assert ended.exit_code in (1, 2)
    assert ended.stderr.strip().splitlines()[-1].startswith("lus: ")
    assert "cannot be written to; give --out another folder" in ended.stderr


def past(score: float) -> resume.EpochRecord:
    return resume.EpochRecord(score, score, "")


def save(disk: Disk, number: float) -> None:
    task = TASK()
    with torch.no_grad():
        for parameter in task.parameters():
            parameter.fill_(number)
    checkpoint.save(disk.path / "checkpoint", task, checkpoint.describe(TASK), seed=0)


def value(task) -> float:
    """The number with which every parameter is filled."""
    numbers = {float(v) for p in task.parameters() for v in p.detach().unique()}
    assert len(numbers) == 1
    return numbers.pop()


def left(disk: Disk) -> list[str]:
    return sorted(path.name for path in disk.path.iterdir())
