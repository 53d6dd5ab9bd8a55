"""Models of a run as a function of files, arrays and stores."""

import numpy as np
import pandas as pd
import pytest

import lus_ray as lus
from lus_ray.errors import InputError, SchemaError
from lus_ray.inference.prediction_table import FIRST_COLUMNS


@pytest.fixture(scope="module")
def model(runs):
    return lus.load(runs / "labels")


@pytest.fixture(scope="module")
def store(runs):
    return lus.open_store(runs / "clips")


def test_models_are_those_of_the_run(model, runs):
    table = model.models.set_index("model")
    assert repr(model) == f"Model({len(table)} models of labels)"
    assert set(table.index.str.split("/").str[0]) == {"labels"}
    assert table.loc["labels/biomarkers", "kind"] == "backbone"
    assert table["card"].str.startswith("Trained on").all()
    assert len(lus.load(runs / "labels", runs / "scores").models) > len(table)


def test_a_stored_clip_and_its_array_have_the_same_numbers(model, store):
    table = model.predict([store, store.frames(store.clips["clip"][0])])
    assert table["clip"].tolist() == [*store.clips["clip"], "array 0"]
    assert table["error"].isna().all()
    numbers = table.drop(columns=[*FIRST_COLUMNS, "error"]).select_dtypes("number")
    assert numbers.iloc[0].to_numpy() == pytest.approx(numbers.iloc[-1].to_numpy(), abs=1e-5)
    assert table["sha256"].iloc[0] == table["sha256"].iloc[-1]


def test_responses_are_typed_and_a_bad_file_has_its_reason(model, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    frames = np.zeros((2, 32, 32), np.uint8)
    bad, good = model.responses([tmp_path, frames])
    assert good.response.clip.num_frames == 2
    assert (bad.response, good.error) == (None, None)
    assert "bad.mp4" in bad.source.clip
    assert bad.error


def test_one_path_or_array_is_enough(model):
    table = model.predict(np.zeros((3, 32, 32), np.uint8))
    assert isinstance(table, pd.DataFrame)
    assert table["num_frames"].tolist() == [3]


@pytest.mark.usefixtures("unchecked")
def test_what_is_no_clip_is_refused(model, tmp_path):
    with pytest.raises(SchemaError, match=r"is float64 with shape \(2, 8, 8\); give uint8"):
        model.predict(np.zeros((2, 8, 8)))
    with pytest.raises(InputError, match="is neither a file nor a folder"):
        model.predict(tmp_path / "absent.mp4")


@pytest.mark.slow
def test_an_evaluation_on_other_patients_reads_like_a_run(runs, tmp_path):
    options = {"patients": 4, "clips": 1, "frames": 4, "size": 64, "masks": "none", "seed": 1}
    other = lus.ingest("phantom", None, tmp_path / "other", **options)
    result = lus.evaluate(runs / "labels", data=other, out=tmp_path / "evaluation", arms="tree")
    assert set(result.predictions("tree")["patient"]) == set(other.patients.index)
    assert set(result.table["arm"]) == {"biomarkers", "tree"}  # and what it reads
    assert result.report.is_file()
