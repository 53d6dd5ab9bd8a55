import io
from dataclasses import replace

import pytest
from PIL import Image

from lus_ray.clip import frames_of
from lus_ray.data import store
from lus_ray.inference.batch import predict_clips
from lus_ray.inference.clip_inputs import ClipInput, ClipResult, find_inputs
from lus_ray.inference.prediction_table import flatten, make_table
from lus_ray.inference.response import wrap_frames

NAMES = ("0.png", "1.png", "2.png")
BAD = "bad.png"


@pytest.fixture(scope="module")
def folder(runs, tmp_path_factory):
    """Three clips of the store as lossless files, and a truncated one."""
    folder = tmp_path_factory.mktemp("files")
    for name, row in zip(NAMES, store.read(runs / "clips"), strict=False):
        first, *others = map(Image.fromarray, frames_of(row))
        file = io.BytesIO()
        first.save(file, "png", save_all=True, append_images=others, duration=40)
        (folder / name).write_bytes(file.getvalue())
    (folder / BAD).write_bytes(file.getvalue()[:2000])
    return folder


@pytest.fixture(scope="module")
def stored(runs, local):
    return [flatten(r) for r in predict_clips(find_inputs([runs / "clips"]).clips, local)]


@pytest.mark.parametrize(
    "sources", [[*NAMES, BAD], [""], ["*.png"]], ids=["files", "folder", "pattern"]
)
def test_files_folders_and_patterns_give_the_numbers_of_the_store(folder, local, stored, sources):
    found = find_inputs([folder / source for source in sources]).clips
    rows = [flatten(result) for result in predict_clips(found, local, workers=1)]
    assert [row["clip"] for row in rows] == [str(folder / name) for name in (*NAMES, BAD)]
    assert [row["error"] is None for row in rows] == [True, True, True, False]
    assert rows[3]["error"].startswith(f"{BAD}: ")
    by_pixels = {row["sha256"]: row for row in stored}
    for row in rows[:3]:
        assert numbers(row) == pytest.approx(numbers(by_pixels[row["sha256"]]), abs=2e-6)


def numbers(row):
    return {name: value for name, value in row.items() if name.count("/") > 1}


def test_clips_that_share_a_pass_have_the_numbers_of_single_ones(runs, local, stored):
    row = next(store.read(runs / "clips", [stored[5]["clip"]]))
    alone = local.predict(wrap_frames(frames_of(row)))
    expected = flatten(ClipResult(ClipInput(row["clip"], row["sha256"]), alone))
    assert numbers(stored[5]) == pytest.approx(numbers(expected), abs=1e-5)


def test_every_model_has_its_columns(stored, local):
    arms = {name.rpartition("/")[0] for name in stored[0] if name.count("/") > 1}
    assert arms == {
        "labels/biomarkers", "labels/tree", "labels/tree-cross-fitted", "labels/network",
        "labels/neighbours-sf-ratio", "scores/frames", "scores/argmax-mean", "scores/uninorm",
        "masks/ensemble",
    }  # fmt: skip
    for arm in arms - {"labels/biomarkers"}:
        shares = [value for name, value in stored[0].items() if name.startswith(f"{arm}/")]
        assert sum(shares) == pytest.approx(1.0, abs=1e-5), arm
    table = make_table(stored)
    assert table.column_names[0] == "clip"
    assert table.column_names[-1] == "error"
    assert len(set(table["sha256"].to_pylist())) == len(stored) == 12


def test_a_damaged_row_group_is_an_error_of_its_clips(runs, local, tmp_path, stored):
    first, second = find_inputs([runs / "clips"]).clips[:2]
    results = list(predict_clips([replace(first, store=tmp_path), second], local))
    assert "not a readable Parquet file" in results[0].error
    assert flatten(results[1])["sha256"] == stored[1]["sha256"]
