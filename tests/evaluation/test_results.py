"""A run directory is read as it is, and what does not fit is refused by name."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from lus_ray.errors import FoldError, StoreError
from lus_ray.evaluation import results
from lus_ray.runs import predictions
from lus_ray.storage.files import open_parquet
from tests.evaluation.frame_run import write_frame_run
from tests.evaluation.mask_run import write_pixel_run
from tests.evaluation.run_folders import PATIENTS, arm, write_cell, write_run


def test_only_annotated_test_clips_are_read(tmp_path: Path) -> None:
    one = arm("e2e, severity", recipe={"epochs": 3})
    write_run(tmp_path, [one])
    write_cell(tmp_path, one, 1, target=[0, None] * 24)
    cell = results.read(tmp_path).cells["e2e, severity", 1]
    assert len(cell.clips) == len(cell.target) == 24
    assert cell.num_patients == 12
    assert cell.cost["cpu_s"] == 100.0
    assert len(cell.epochs) == 3


def test_a_table_is_opened_once_whatever_it_predicts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pixel_run(tmp_path / "masks")
    write_frame_run(tmp_path / "frames")
    opened: list[Path] = []

    def counted(path: Path) -> pq.ParquetFile:
        opened.append(path)
        return open_parquet(path)

    monkeypatch.setattr(predictions, "open_parquet", counted)
    for name in ("masks", "frames"):
        results.read(tmp_path / name)
    assert len(opened) == len(set(opened)) > 6


def test_samples_of_a_search_are_ignored(tmp_path: Path) -> None:
    one = arm("e2e")
    path = write_cell(write_run(tmp_path, [one]), one, 0)
    deeper = path.parent / "samples" / "0"
    deeper.mkdir(parents=True)
    (deeper / "fold0.parquet").write_bytes(path.read_bytes())
    assert list(results.read(tmp_path).cells) == [("e2e", 0)]


def test_a_folder_that_is_no_run_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"experiment\.json: no such file; name a folder"):
        results.read(tmp_path)


def test_a_damaged_prediction_is_refused_by_name(tmp_path: Path) -> None:
    one = arm("e2e")
    path = write_cell(write_run(tmp_path, [one]), one, 0)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(StoreError, match=r"fold0\.parquet: not a readable Parquet file"):
        results.read(tmp_path)


def test_two_files_of_one_cell_are_refused(tmp_path: Path) -> None:
    one = arm("e2e")
    path = write_cell(write_run(tmp_path, [one]), one, 0)
    (path.parent / "fold7.parquet").write_bytes(path.read_bytes())
    with pytest.raises(StoreError, match="is here twice"):
        results.read(tmp_path)


def test_a_prediction_that_tests_a_training_patient_is_refused(tmp_path: Path) -> None:
    one = arm("e2e")
    write_cell(write_run(tmp_path, [one]), one, 0, patients=PATIENTS[:13])
    with pytest.raises(FoldError, match="tests patient 'phantom/p12', whom fold 0"):
        results.read(tmp_path)


def test_a_target_outside_the_classes_is_refused(tmp_path: Path) -> None:
    one = arm("e2e")
    write_cell(write_run(tmp_path, [one]), one, 0, target=[9] * 48)
    with pytest.raises(StoreError, match=r"targets 9\.\.9 for 4 classes"):
        results.read(tmp_path)


def test_an_epoch_line_cut_short_by_a_kill_is_left_out(tmp_path: Path) -> None:
    one = arm("e2e", recipe={"epochs": 3})
    write_cell(write_run(tmp_path, [one]), one, 0)
    lines = tmp_path / "cells" / "e2e" / "fold0" / "metrics.jsonl"
    lines.write_text(lines.read_text() + '{"epoch": 3, "trai')
    assert [row["epoch"] for row in results.read(tmp_path).cells["e2e", 0].epochs] == [0, 1, 2]


def test_a_cell_without_a_measured_cost_has_none(tmp_path: Path) -> None:
    one = arm("e2e")
    write_cell(write_run(tmp_path, [one]), one, 0)
    (tmp_path / "cells" / "e2e" / "fold0" / "cost.json").unlink()
    assert results.read(tmp_path).cells["e2e", 0].cost == {}


def test_damaged_experiment_json_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path, [arm("e2e")])
    (tmp_path / "experiment.json").write_text(json.dumps({"arms": []})[:-2])
    with pytest.raises(StoreError, match="not readable"):
        results.read(tmp_path)
