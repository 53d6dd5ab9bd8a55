"""Models that reproduce their stored predictions pass; the one that does not is named."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from lus_ray.data.ingest.pipeline import ingest
from lus_ray.errors import ServeError
from lus_ray.inference import parity
from lus_ray.inference.model_selection import neighbouring_runs, select_models
from lus_ray.inference.response import LocalPipeline, wrap_frames
from lus_ray.runs import predictions


def through(local):
    return lambda frames: local.predict(wrap_frames(frames))


@pytest.fixture
def copied(runs, tmp_path):
    return shutil.copytree(runs, tmp_path, ignore=lambda *_: ["clips"], dirs_exist_ok=True)


def models_in(folder):
    return select_models(neighbouring_runs(folder / "labels"))


def test_models_that_were_just_trained_pass(models, local):
    differences = parity.measure_parity(models, through(local))
    assert set(differences) == {model.id for model in models}
    assert max(differences.values()) <= 1e-5
    parity.check_parity(differences)


def test_every_clip_is_sent_once_and_again_with_padding_for_a_padding_view(models, local):
    shapes = []

    def predict(frames):
        shapes.append(frames.shape[1:])
        return local.predict(wrap_frames(frames))

    parity.measure_parity(models, predict, num_clips=1)
    # Each run replays a clip; 64 x 64 is 64 x 83 in an aspect of 1.3.
    assert sorted(shapes) == [(64, 64)] * 3 + [(64, 83)]


FULL = pytest.mark.full


@pytest.mark.parametrize(
    ("arm", "tensor", "change", "failing"),
    [
        pytest.param("biomarkers", "net.fc.bias", 0.001, {"labels/biomarkers"}, marks=FULL),
        ("frames", "net.classifier.out.bias", [0.5, 0, 0, 0],
         {"scores/frames", "scores/argmax-mean", "scores/uninorm"}),
        pytest.param("uninorm", "net.neutral", 0.3, {"scores/uninorm"}, marks=FULL),
        ("ensemble", "net.0.net.out.bias", [0, 0, 0, 0, 9], {"masks/ensemble"}),
    ],
)  # fmt: skip
def test_changed_weights_are_noticed_in_their_model(copied, arm, tensor, change, failing):
    model = next(model for model in models_in(copied) if model.arm == arm)
    path = model.folder / "weights.safetensors"
    tensors = load_file(path)
    tensors[tensor] += np.asarray(change, tensors[tensor].dtype)
    save_file(tensors, path)
    models = models_in(copied)
    differences = parity.measure_parity(models, through(LocalPipeline(models)))
    assert {name for name, off in differences.items() if off > 1e-5} == failing
    with pytest.raises(ServeError, match="predictions differ from its stored predictions by"):
        parity.check_parity(differences)


def test_the_worst_model_is_named_and_nan_is_worst():
    with pytest.raises(ServeError, match=r"^b/x: .* by 0\.2, more than 1e-05"):
        parity.check_parity({"a/x": 0.1, "b/x": 0.2, "c/x": 1e-6})
    with pytest.raises(ServeError, match=r"^a/x: .* by nan"):
        parity.check_parity({"a/x": float("nan"), "b/x": 0.2})


def test_a_response_without_the_model_is_rejected(models, local):
    experts = [model for model in models if model.kind == "expert"]
    others = LocalPipeline([model for model in models if model.arm != "tree"])
    with pytest.raises(ServeError, match="labels/tree: is missing in the response"):
        parity.measure_parity(experts, through(others))


def test_a_response_of_another_shape_is_infinitely_off(models, local):
    backbone = [model for model in models if model.kind == "backbone"]

    def predict_short(frames):
        response = local.predict(wrap_frames(frames))
        short = replace(response.biomarkers, probability=[0.0] * 37)
        return replace(response, biomarkers=short)

    assert parity.measure_parity(backbone, predict_short) == {"labels/biomarkers": float("inf")}


def lose_store(copied):
    record = copied / "labels" / "experiment.json"
    record.write_text(record.read_text().replace("data_path", "elsewhere"))


def test_missing_clips_are_an_error(copied, runs, local, monkeypatch):
    monkeypatch.chdir(runs / "clips")  # a run without a recorded path must not use this store
    lose_store(copied)
    with pytest.raises(ServeError, match="labels: its clips are missing at"):
        parity.measure_parity(models_in(copied), through(local))


def test_a_run_that_was_moved_with_its_phantom_clips_finds_them(copied, runs, local):
    lose_store(copied)
    shutil.copytree(runs / "clips", copied / "labels" / "phantom")
    models = [model for model in models_in(copied) if model.run == "labels"]
    assert max(parity.measure_parity(models, through(local)).values()) <= 1e-5


def test_another_store_with_the_same_clip_names_is_noticed(models, local, tmp_path):
    phantom = {"patients": 12, "clips": 1, "frames": 4, "size": 64, "masks": "none"}
    ingest("phantom", None, tmp_path, difficulty=1.0, **phantom)
    with pytest.raises(ServeError, match="differs from the predicted one; its store was created"):
        parity.measure_parity(models, through(local), data=tmp_path)


def test_a_model_without_a_predicted_test_clip_is_rejected(copied, local):
    backbone = models_in(copied)[0]
    about, _ = predictions.read(backbone.predictions, columns=())
    predictions.write(backbone.predictions, [], about)
    with pytest.raises(ServeError, match="labels/biomarkers: has no prediction for a test clip"):
        parity.measure_parity([backbone], through(local))
