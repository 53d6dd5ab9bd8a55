import shutil
from pathlib import Path

import numpy as np
import pytest

from lus_ray.errors import FoldError, StoreError
from lus_ray.evaluation import results
from lus_ray.runs import predictions
from lus_ray.storage.files import open_parquet
from tests.evaluation.frame_run import FRAMES, write_frame_cell
from tests.evaluation.mask_run import DENSE, PUBLISHED, SIZE, UNET, write_mask_cell
from tests.evaluation.run_folders import PATIENTS, arm, write_cell, write_run

ARM = arm("e2e", recipe={"epochs": 3})


def read_masks(out, **settings):
    write_mask_cell(write_run(out, [UNET]), UNET, 0, **settings)
    return results.read(out).cells["U-Net", 0]


def read_frames(out, **settings):
    write_frame_cell(write_run(out, [FRAMES]), FRAMES, 0, **settings)
    return results.read(out).cells["frames", 0]


def test_only_annotated_test_clips_are_read_and_no_samples_of_a_search(tmp_path):
    path = write_cell(write_run(tmp_path, [ARM]), ARM, 1, target=[0, None] * 24)
    shutil.copytree(path.parent, path.parent / "samples" / "0")
    [cell] = results.read(tmp_path).cells.values()
    assert len(cell.clips) == len(cell.target) == 24
    assert (cell.num_patients, cell.cost["cpu_s"], len(cell.epochs)) == (12, 100.0, 3)


def test_every_frame_of_a_test_clip_is_one_example(tmp_path):
    cell = read_frames(tmp_path, num_frames=5)
    assert cell.has_frames
    assert (cell.probability.shape, cell.probability.dtype) == ((24 * 5, 4), np.float32)
    assert cell.num_clips == 24
    assert cell.clips[:6] == ("phantom/p00-0",) * 5 + ("phantom/p00-1",)
    assert cell.patients[9:11] == ("phantom/p00", "phantom/p01")


def test_clips_without_frame_scores_have_a_prediction_but_no_example(tmp_path):
    cell = read_frames(tmp_path, target=None)
    assert (len(cell.clips), len(cell.predicted)) == (0, 24)


def test_every_frame_with_a_mask_is_one_image(tmp_path):
    cell = read_masks(tmp_path, num_frames=3)
    assert (cell.counts.shape, cell.counts.dtype) == ((36, 5, 5), np.int64)
    assert (cell.counts.sum(axis=(1, 2)) == SIZE**2).all()
    assert cell.clips[:4] == ("phantom/p00-0",) * 3 + ("phantom/p01-0",)
    assert (cell.num_clips, cell.num_patients) == (12, 12)


@pytest.mark.parametrize(
    ("read", "settings", "reason"),
    [
        (read_masks, {"num_pairs": 4}, r"counts of \[4\] pairs of the 5 classes of 'markers'"),
        (read_masks, {"scheme": "bline"}, r"counts of \[25\] pairs of the 2 classes of 'bline'"),
        (read_masks, {"scheme": "lobes"}, "no mask scheme 'lobes'"),
        (read_frames, {"target": [0, 1]}, "clip 'phantom/p00-0' has 2 scores for 12 frames"),
        (read_frames, {"num_frames": 0}, ".* has no frames"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(tmp_path, read, settings, reason):
    with pytest.raises(StoreError, match=rf"fold0\.parquet: not a prediction table \({reason}"):
        read(tmp_path, **settings)


@pytest.mark.slow
def test_a_table_is_opened_once_whatever_it_predicts(frame_run, mask_run, monkeypatch):
    opened: list[Path] = []

    def count_open(path):
        opened.append(path)
        return open_parquet(path)

    monkeypatch.setattr(predictions, "open_parquet", count_open)
    for computed in (frame_run, mask_run):
        results.read(computed.run.out)
    assert len(opened) == len(set(opened)) > 6


PREDICTIONS = "predictions/e2e/fold0.parquet"


def truncate(path, length):
    path.write_bytes(path.read_bytes()[:length])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda out: (out / "experiment.json").unlink(), r"experiment\.json: no such file; name a"),
        (lambda out: truncate(out / "experiment.json", -2), "not readable"),
        (lambda out: truncate(out / PREDICTIONS, 100), r"fold0\.parquet: not a readable Parquet f"),
        (
            lambda out: shutil.copy(out / PREDICTIONS, out / PREDICTIONS.replace("0", "7")),
            "a second file for arm 'e2e', fold 0",
        ),
        (lambda out: write_cell(out, ARM, 0, target=[9] * 48), r"targets 9\.\.9 for 4 classes"),
        (lambda out: write_cell(out, ARM, 0, patients=PATIENTS[:13]), "tests patient 'phantom/p1"),
    ],
)
def test_a_damaged_run_is_refused_by_file(tmp_path, change, reason):
    write_cell(write_run(tmp_path, [ARM]), ARM, 0)
    change(tmp_path)
    with pytest.raises((StoreError, FoldError), match=reason):
        results.read(tmp_path)


def test_an_arm_split_by_image_may_test_any_patient_and_so_may_its_readers(tmp_path):
    reader = arm("reader", label="dense masks", reads=PUBLISHED["name"])
    joined = arm("joined", label="dense masks", members=["reader"])
    write_run(tmp_path, [PUBLISHED, reader, joined, DENSE])
    for entry in (PUBLISHED, reader, joined):
        write_mask_cell(tmp_path, entry, 0, patients=PATIENTS[:20])
    assert {cell.num_patients for cell in results.read(tmp_path).cells.values()} == {20}
    write_mask_cell(tmp_path, DENSE, 0, patients=PATIENTS[:13])
    with pytest.raises(FoldError, match="tests patient 'phantom/p12', who is not a test patient"):
        results.read(tmp_path)


def test_an_epoch_cut_short_and_a_cost_not_measured_are_left_out(tmp_path):
    write_cell(write_run(tmp_path, [ARM]), ARM, 0)
    folder = tmp_path / "cells" / "e2e" / "fold0"
    with (folder / "metrics.jsonl").open("a") as lines:
        lines.write('{"epoch": 3, "trai')
    (folder / "cost.json").unlink()
    cell = results.read(tmp_path).cells["e2e", 0]
    assert [row["epoch"] for row in cell.epochs] == [0, 1, 2]
    assert cell.cost == {}
