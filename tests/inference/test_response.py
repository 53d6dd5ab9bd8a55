"""The answer of all stages in one process: its names, its numbers, and what it leaves out."""

import json

import numpy as np
import pytest

from lus_ray.clip import BIOMARKERS, frames_of
from lus_ray.data import store
from lus_ray.data.decoding.decoder import decode
from lus_ray.errors import ServeError
from lus_ray.inference.response import NOTICE, TIMED, Local, undecoded
from lus_ray.inference.stages import Backbone

NAMES = {
    "clip": {
        "num_frames", "height", "width", "fps", "mm_per_pixel", "format", "sha256", "notes",
    },
    "lung_ultrasound": {"likely", "score", "reasons", "detector"},
    "biomarkers": {"model", "names", "groups", "probability"},
    "frames": {"model", "classes", "probability", "score", "boxes"},
    "masks": {
        "model", "scheme", "classes", "colours", "height", "width", "num_frames", "sprite", "share",
        "uncertainty",
    },
    "preview": {"height", "width", "num_frames", "every", "sprite"},
    "timings_ms": set(TIMED),
}  # fmt: skip


@pytest.fixture(scope="module")
def row(runs):
    return next(store.read(runs / "clips"))


@pytest.fixture(scope="module")
def answer(local, row):
    return local.answer(undecoded(frames_of(row)), preview=True, parity={"signs/tree": 1e-7})


def test_an_answer_has_the_names_of_the_contract_and_no_others(answer):
    lists = {"experts", "clip_scores", "models", "notice"}
    assert set(answer) == set(NAMES) | lists
    for part, names in NAMES.items():
        assert set(answer[part]) == names
    assert set(answer["experts"][0]) == {"label", "title", "classes", "answers"}
    assert set(answer["experts"][0]["answers"][0]) == {"model", "name", "probability"}
    assert set(answer["clip_scores"][0]) == {
        "model", "name", "classes", "probability", "score", "neutral",
    }  # fmt: skip
    assert set(answer["models"][0]) == {"id", "kind", "fold", "fingerprint", "parity"}
    assert answer["notice"] == NOTICE


def test_an_answer_is_json_without_special_numbers_and_comes_back_equal(answer):
    assert json.loads(json.dumps(answer, allow_nan=False)) == answer


def test_the_clip_is_told_by_its_stored_hash(answer, row):
    assert answer["clip"]["sha256"] == row["sha256"]
    assert [answer["clip"][name] for name in ("num_frames", "height", "width")] == [
        len(row["frames"]), 64, 64,
    ]  # fmt: skip


def test_groups_cover_the_38_biomarkers_in_order(answer):
    said = answer["biomarkers"]
    assert said["names"] == list(BIOMARKERS)
    firsts = [group["first"] for group in said["groups"]]
    assert firsts == np.cumsum([0, *(group["count"] for group in said["groups"])])[:-1].tolist()
    for group in said["groups"]:
        named = said["names"][group["first"] : group["first"] + group["count"]]
        assert all(name.startswith(f"{group['name']}: ") for name in named)
    assert len(said["probability"]) == 38


def test_the_score_of_a_frame_is_its_most_probable_one(answer):
    frames = answer["frames"]
    assert frames["score"] == np.argmax(frames["probability"], axis=1).tolist()
    assert np.shape(frames["boxes"]) == (len(frames["score"]), 4, 2)


def test_parity_is_told_where_it_is_known(answer):
    parity = {model["id"]: model["parity"] for model in answer["models"]}
    assert parity["signs/tree"] == 1e-7
    assert parity["signs/biomarkers"] is None


def test_times_of_stages_add_up_to_no_more_than_the_whole(local, row):
    frames = undecoded(frames_of(row))
    spent = local.answer(frames, timings_ms={"receive": 5.0, "decode": 1000.0})["timings_ms"]
    assert spent["receive"] == 5.0
    assert all(value > 0 for value in spent.values())
    assert sum(value for name, value in spent.items() if name != "total") <= spent["total"] + 0.01


def test_only_what_is_there_answers(offered, row):
    tree = [model for model in offered if model.kind in ("backbone", "expert")][:2]
    said = Local(tree).answer(undecoded(frames_of(row)))
    assert [model["id"] for model in said["models"]] == ["signs/biomarkers", "signs/tree"]
    assert said["biomarkers"] is not None
    for part in ("frames", "masks", "preview"):
        assert said[part] is None
    assert said["clip_scores"] == []
    assert said["timings_ms"]["masks"] == 0


def test_an_answer_comes_out_equal_a_second_time(local, answer, row):
    again = local.answer(undecoded(frames_of(row)), preview=True, parity={"signs/tree": 1e-7})
    assert again | {"timings_ms": 0} == answer | {"timings_ms": 0}


def test_without_a_model_there_is_no_answer():
    with pytest.raises(ServeError, match="no finished model to apply"):
        Local([])


@pytest.mark.data
def test_a_real_clip_from_a_file_is_answered_in_full(local, shared_data):
    path = sorted((shared_data / "covid_blues").rglob("*.mp4"))[0]
    decoded = decode(path)
    said = local.answer(decoded, preview=True, uncertainty=True)
    assert said["clip"]["format"] == "MP4 or MOV"
    assert path.name not in json.dumps(said)
    assert len(said["frames"]["score"]) == said["clip"]["num_frames"] == len(decoded.frames)
    backbone = next(model for model in local.models if model.kind == "backbone")
    expected = Backbone(backbone)(decoded.frames)["probability"]
    assert said["biomarkers"]["probability"] == pytest.approx(expected.tolist(), abs=1e-6)
