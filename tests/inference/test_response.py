"""The response of all stages in one process: its keys, its numbers, and absent parts."""

import json

import numpy as np
import pytest

from lus_ray.clip import BIOMARKERS, frames_of
from lus_ray.data import store
from lus_ray.errors import ServeError
from lus_ray.inference.response import NOTICE, LocalPipeline, wrap_frames
from lus_ray.inference.schema import CLIP_RESPONSE, to_dict

KEYS = {
    "clip": "num_frames height width fps mm_per_pixel format sha256 notes",
    "lung_ultrasound": "likely score reasons detector",
    "biomarkers": "model names groups probability trained score findings reason",
    "experts": "label title classes answers summary baseline",
    "frames": "model classes probability score boxes",
    "clip_scores": "model name classes probability score neutral",
    "masks": "model scheme classes colours height width num_frames sprite share uncertainty",
    "preview": "height width num_frames every sprite",
    "attention": "",
    "models": "id kind title label fold fingerprint parity card",
    "timings_ms": "receive decode backbone experts classifiers attention frames clip_scores "
    "masks total",
    "banner": "",
    "notice": "",
}
"""The contract with clients."""


@pytest.fixture(scope="module")
def row(runs):
    return next(store.read(runs / "clips"))


def predict(pipeline, row, **options):
    return to_dict(pipeline.predict(wrap_frames(frames_of(row)), **options))


@pytest.fixture(scope="module")
def response(local, row):
    return predict(local, row, preview=True, parity={"labels/tree": 1e-7})


def test_a_response_has_exactly_the_keys_of_the_contract(response):
    assert list(response) == list(KEYS)
    for part, keys in KEYS.items():
        value = response[part][0] if isinstance(response[part], list) else response[part]
        assert not keys or list(value) == keys.split()
    answer = response["experts"][0]["answers"][0]
    names = "model name kind probability in_summary reason"
    assert list(answer) == names.split()
    assert set(response["biomarkers"]["groups"][0]) == {"name", "first", "count"}
    assert response["notice"] == NOTICE


def test_a_response_is_json_without_special_numbers_and_survives_a_round_trip(response):
    text = json.dumps(response, allow_nan=False)
    assert to_dict(CLIP_RESPONSE.validate_json(text)) == json.loads(text) == response


def test_the_clip_is_identified_by_its_stored_hash(response, row):
    clip = response["clip"]
    assert clip["sha256"] == row["sha256"]
    shape = (clip["num_frames"], clip["height"], clip["width"])
    assert shape == (len(row["frames"]), 64, 64)


def test_groups_cover_the_38_biomarkers_in_order(response):
    names, groups = response["biomarkers"]["names"], response["biomarkers"]["groups"]
    assert names == list(BIOMARKERS)
    assert len(response["biomarkers"]["probability"]) == 38
    covered = []
    for group in groups:
        assert group["first"] == len(covered)
        covered += names[group["first"] : group["first"] + group["count"]]
        assert all(name.startswith(f"{group['name']}: ") for name in covered[group["first"] :])
    assert covered == names


def test_the_score_of_a_frame_is_its_most_probable_class(response):
    frames = response["frames"]
    assert frames["score"] == np.argmax(frames["probability"], axis=1).tolist()
    assert np.shape(frames["boxes"]) == (len(frames["score"]), 4, 2)


def test_parity_is_null_where_it_is_unknown(response):
    parity = {model["id"]: model["parity"] for model in response["models"]}
    assert parity["labels/tree"] == 1e-7
    assert parity["labels/biomarkers"] is None


def test_the_times_of_the_stages_add_up_to_at_most_the_total(local, row):
    spent = predict(local, row, timings_ms={"receive": 5.0, "decode": 1000.0})["timings_ms"]
    assert spent["receive"] == 5.0
    assert spent.pop("attention") == 0  # on request only
    assert all(value > 0 for value in spent.values())
    assert sum(value for name, value in spent.items() if name != "total") <= spent["total"] + 0.01


def test_parts_without_a_model_are_null_or_empty(models, row):
    chosen = [model for model in models if model.kind in ("backbone", "expert")][:2]
    response = predict(LocalPipeline(chosen), row)
    assert [model["id"] for model in response["models"]] == ["labels/biomarkers", "labels/tree"]
    assert response["biomarkers"] is not None
    assert [response[part] for part in ("frames", "masks", "preview")] == [None] * 3
    assert response["clip_scores"] == []
    assert response["timings_ms"]["masks"] == 0


def test_a_pipeline_without_a_model_is_rejected():
    with pytest.raises(ServeError, match="no finished model to apply"):
        LocalPipeline([])
