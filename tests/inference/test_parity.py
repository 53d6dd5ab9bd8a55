"""The gate passes models that answer as stored, and names the one that does not."""

import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from lus_ray.data.ingest.pipeline import ingest
from lus_ray.errors import ServeError
from lus_ray.inference import model_selection, parity
from lus_ray.inference.response import Local, undecoded
from lus_ray.runs import predictions


def through(local):
    """All stages in this process, from frames."""
    return lambda frames: local.answer(undecoded(frames))


@pytest.fixture
def copied(runs, tmp_path):
    """A copy of the runs, to be changed."""
    for name in ("signs", "scores", "outlines"):
        shutil.copytree(runs / name, tmp_path / name)
    return tmp_path


def offered_in(folder):
    return model_selection.find(model_selection.beside(folder / "signs"))


def changed(model, name, by):
    """Add numbers to a tensor of a checkpoint."""
    path = model.folder / "weights.safetensors"
    tensors = load_file(path)
    tensors[name] += np.asarray(by, tensors[name].dtype)
    save_file(tensors, path)


def test_models_that_were_just_trained_answer_as_they_did(offered, local):
    differences = parity.replay(offered, through(local))
    assert set(differences) == {model.id for model in offered}
    assert max(differences.values()) <= 1e-5
    parity.check(differences)


def test_every_replayed_clip_is_asked_for_once_and_once_more_with_black_for_a_padding_view(
    offered, local
):
    asked = []

    def answer(frames):
        asked.append(frames.shape[1:])
        return local.answer(undecoded(frames))

    parity.replay(offered, answer, num_clips=1)
    # signs, scores and outlines replay a clip each; 64 x 64 is 64 x 83 in an aspect of 1.3.
    assert sorted(asked) == [(64, 64)] * 3 + [(64, 83)]


@pytest.mark.parametrize(
    ("arm", "tensor", "by", "off"),
    [
        ("biomarkers", "net.fc.bias", 0.001, {"signs/biomarkers"}),
        ("frames", "net.classifier.out.bias", [0.5, 0, 0, 0],
         {"scores/frames", "scores/argmax-mean", "scores/uninorm"}),
        ("uninorm", "net.neutral", 0.3, {"scores/uninorm"}),
        ("ensemble", "net.0.net.out.bias", [0, 0, 0, 0, 9], {"outlines/ensemble"}),
    ],
)  # fmt: skip
def test_other_weights_are_noticed_in_the_model_that_has_them(copied, arm, tensor, by, off):
    changed(next(model for model in offered_in(copied) if model.arm == arm), tensor, by)
    now = offered_in(copied)
    differences = parity.replay(now, through(Local(now)))
    assert {name for name, far in differences.items() if far > 1e-5} == off
    with pytest.raises(ServeError, match="answers differ from its stored predictions by"):
        parity.check(differences)


def test_the_worst_model_is_named_and_a_number_that_is_none_is_worst():
    with pytest.raises(ServeError, match=r"^b/x: answers differ .* by 0\.2, more than 1e-05"):
        parity.check({"a/x": 0.1, "b/x": 0.2, "c/x": 1e-6})
    with pytest.raises(ServeError, match=r"^a/x: answers differ .* by nan"):
        parity.check({"a/x": float("nan"), "b/x": 0.2})


def test_an_answer_without_the_model_is_not_taken_for_its_own(offered, local):
    expert = [model for model in offered if model.kind == "expert"]
    others = Local([model for model in offered if model.arm != "tree"])
    with pytest.raises(ServeError, match="signs/tree: the answer does not have it"):
        parity.replay(expert, through(others))


def test_clips_that_are_gone_are_said_to_be_gone(copied, runs, local, monkeypatch):
    monkeypatch.chdir(runs / "clips")  # where nothing is recorded, no store of this folder is meant
    record = copied / "signs" / "experiment.json"
    record.write_text(record.read_text().replace("data_path", "elsewhere"))
    with pytest.raises(ServeError, match="signs: its clips are no longer at"):
        parity.replay(offered_in(copied), through(local))


def test_a_run_that_was_moved_with_its_own_phantoms_finds_them(copied, runs, local):
    record = copied / "signs" / "experiment.json"
    record.write_text(record.read_text().replace("data_path", "elsewhere"))
    shutil.copytree(runs / "clips", copied / "signs" / "phantom")
    found = [model for model in offered_in(copied) if model.run == "signs"]
    assert max(parity.replay(found, through(local)).values()) <= 1e-5


def test_another_store_with_clips_of_the_same_names_is_noticed(offered, local, tmp_path):
    ingest(
        "phantom",
        None,
        tmp_path,
        patients=12,
        clips=1,
        frames=4,
        size=64,
        masks="none",
        difficulty=1.0,
    )
    with pytest.raises(ServeError, match="is not the one that was predicted; its store was made"):
        parity.replay(offered, through(local), data=tmp_path)


def test_answers_of_another_shape_are_as_far_off_as_can_be(offered, local):
    backbone = [model for model in offered if model.kind == "backbone"]

    def short(frames):
        said = local.answer(undecoded(frames))
        return said | {"biomarkers": said["biomarkers"] | {"probability": np.zeros(37).tolist()}}

    assert parity.replay(backbone, short) == {"signs/biomarkers": float("inf")}


def test_without_a_tested_clip_there_is_nothing_to_replay(copied, local):
    backbone = offered_in(copied)[0]
    about, _ = predictions.read(backbone.predictions, columns=())
    predictions.write(backbone.predictions, [], about)
    with pytest.raises(ServeError, match="signs/biomarkers: predicted no test clip"):
        parity.replay([backbone], through(local))
