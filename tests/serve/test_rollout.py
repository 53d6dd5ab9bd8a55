"""Copies of checkpoints are complete or absent, and removed when nothing loads them."""

import pytest

from lus_ray.errors import ServeError
from lus_ray.inference.model_selection import select_models
from serve.deployment import verify
from serve.rollout import PARTIAL, copy_checkpoint, remove_copies_except
from tests.inference.fixture_runs import arm_entry, biomarkers, write_cell, write_run


@pytest.fixture
def model(tmp_path):
    run = write_run(tmp_path / "run", arm_entry("labels", "biomarkers"))
    write_cell(run, "labels", biomarkers, label="biomarkers")
    (model,) = select_models([run])
    return model


@pytest.fixture
def copies(tmp_path_factory):
    return tmp_path_factory.mktemp("copies")


def test_a_failed_copy_leaves_nothing_and_the_next_one_is_complete(model, copies):
    unreadable = model.folder / "unreadable"
    unreadable.symlink_to("nowhere")
    with pytest.raises(OSError):
        copy_checkpoint(model, copies)
    assert not (copies / model.fingerprint).exists()
    unreadable.unlink()
    copy_checkpoint(model, copies)
    assert verify(model, copies).folder == copies / model.fingerprint


def test_a_checkpoint_that_changed_meanwhile_is_not_copied(model, copies):
    (model.folder / "task.json").write_text("{}")
    with pytest.raises(ServeError, match="labels: its checkpoint is being written"):
        copy_checkpoint(model, copies)
    assert not (copies / model.fingerprint).exists()


def test_a_copy_stays_unchanged_when_the_run_changes(model, copies):
    copy_checkpoint(model, copies)
    (model.folder / "task.json").write_text("{}")
    copy_checkpoint(model, copies)
    assert verify(model, copies).folder == copies / model.fingerprint
    with pytest.raises(ServeError, match="its checkpoint has changed"):
        verify(model, None)


def test_copies_that_nothing_loads_are_removed(model, copies):
    copy_checkpoint(model, copies)
    (copies / PARTIAL).mkdir()
    remove_copies_except([model], copies)
    assert [folder.name for folder in copies.iterdir()] == [model.fingerprint]
    remove_copies_except([], copies)
    assert list(copies.iterdir()) == []
