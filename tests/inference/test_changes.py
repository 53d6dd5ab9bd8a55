"""A stamp is another one exactly when what is offered may be."""

import os
import shutil

import pytest
from lus_ray.inference.changes import stamp

from tests.inference.made_runs import biomarkers, cell, entry, written


@pytest.fixture
def run(tmp_path):
    folder = written(tmp_path / "a", entry("signs", "biomarkers"))
    cell(folder, "signs", biomarkers, label="biomarkers")
    return folder


def test_a_stamp_stays_while_nothing_but_logs_changes(run):
    before = stamp(run)
    (run / "cells" / "signs" / "fold0" / "metrics.jsonl").write_text("{}")
    (run / "report.html").write_text("...")
    assert stamp(run) == before
    assert len(before) == 5  # the record, predictions, cost, and two files of the checkpoint


@pytest.mark.parametrize(
    "file",
    [
        "experiment.json", "predictions/signs/fold0.parquet", "cells/signs/fold0/cost.json",
        "cells/signs/fold0/checkpoint/weights.safetensors",
    ],
)  # fmt: skip
def test_a_file_that_is_written_anew_or_goes_away_is_noticed(run, file):
    path, before = run / file, stamp(run)
    told = path.stat()
    path.with_suffix(".new").write_bytes(path.read_bytes())
    path.with_suffix(".new").rename(path)
    os.utime(path, ns=(told.st_atime_ns, told.st_mtime_ns))
    renewed = stamp(run)
    path.unlink()
    assert len({before, renewed, stamp(run)}) == 3


def test_another_run_beside_it_is_noticed(run, tmp_path):
    before = stamp(run)
    shutil.copytree(run, tmp_path / "b")
    assert before < stamp(run)
