"""The files of a cell, read while they are written."""

import json
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from lus_ray.monitoring import run_files
from lus_ray.monitoring.run_files import NUM_POINTS, CellFiles, thin_points

LINES = "".join(json.dumps({"epoch": n, "val_score": n / 10}) + "\n" for n in range(10))


def read(folder: Path) -> CellFiles:
    return run_files.read_cell_files(folder, run_files.stat_cell_files(folder)[0])


@settings(max_examples=30)
@given(st.integers(0, len(LINES)))
def test_a_truncated_line_is_no_epoch_yet(tmp_path_factory, num_bytes):
    folder = tmp_path_factory.mktemp("cell")
    (folder / "metrics.jsonl").write_text(LINES[:num_bytes])
    files = read(folder)
    num_whole = LINES[:num_bytes].count("}")
    assert files.num_epochs == num_whole
    assert files.curve == tuple((n + 1, n / 10) for n in range(num_whole))


@settings(max_examples=30)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_without_an_error(tmp_path_factory, junk):
    folder = tmp_path_factory.mktemp("cell")
    for name in run_files.FILES:
        (folder / name).write_bytes(junk)
    files = read(folder)
    assert files.touched > 0
    assert all(epoch >= 1 for epoch, _ in files.curve)


@given(st.integers(0, 2000))
def test_a_curve_keeps_its_ends_and_at_most_two_hundred_points(num_epochs):
    points = [(n + 1, n / 7) for n in range(num_epochs)]
    kept = thin_points(points)
    assert len(kept) == min(num_epochs, NUM_POINTS)
    assert set(kept) <= set(points)
    assert list(kept) == sorted(kept)
    assert not points or (kept[0], kept[-1]) == (points[0], points[-1])


def test_an_absent_folder_has_no_files(tmp_path):
    assert read(tmp_path / "nowhere") == CellFiles()
