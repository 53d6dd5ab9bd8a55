"""Copies of checkpoints are whole or not there, and go when nothing is loaded from them."""

import pytest
from serve.copies import keep, leave_only

from lus_ray.errors import ServeError
from lus_ray.inference.model_selection import find
from serve.deployment import held
from tests.inference.made_runs import biomarkers, cell, entry, written


@pytest.fixture
def model(tmp_path):
    run = written(tmp_path / "run", entry("signs", "biomarkers"))
    cell(run, "signs", biomarkers, label="biomarkers")
    (found,) = find([run])
    return found


@pytest.fixture
def copies(tmp_path):
    folder = tmp_path / "copies"
    folder.mkdir()
    return folder


def test_a_copy_that_breaks_off_leaves_nothing_and_the_next_one_is_whole(model, copies):
    broken = model.folder / "unreadable"
    broken.symlink_to("nowhere")
    with pytest.raises(OSError):
        keep(model, copies)
    assert not (copies / model.fingerprint).exists()
    broken.unlink()
    keep(model, copies)
    assert held(model, copies).folder == copies / model.fingerprint


def test_a_checkpoint_that_is_another_one_meanwhile_is_not_kept(model, copies):
    (model.folder / "task.json").write_text("{}")
    with pytest.raises(ServeError, match="signs: its checkpoint is being written"):
        keep(model, copies)
    assert not (copies / model.fingerprint).exists()


def test_a_copy_stays_as_it_is_whatever_the_run_does(model, copies):
    keep(model, copies)
    (model.folder / "task.json").write_text("{}")
    keep(model, copies)
    assert held(model, copies).folder == copies / model.fingerprint
    with pytest.raises(ServeError, match="its checkpoint has changed"):
        held(model, None)


def test_copies_that_nothing_is_loaded_from_go(model, copies):
    keep(model, copies)
    (copies / "copying").mkdir()
    leave_only([model], copies)
    assert [folder.name for folder in copies.iterdir()] == [model.fingerprint]
    leave_only([], copies)
    assert list(copies.iterdir()) == []
