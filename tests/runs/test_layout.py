"""The names in a run folder."""

from lus_ray.runs import layout
from lus_ray.runs.cell import Cell
from lus_ray.runs.layout import CellFolder, RunFolder


def test_a_cell_and_its_sample_have_folders_and_prediction_files(tmp_path):
    run = RunFolder(tmp_path)
    cell, sample = run.cell(Cell("A, b", 2)), run.cell(Cell("A, b", 2, 3))
    assert cell.path == tmp_path / "cells/a-b/fold2"
    assert cell.predictions == tmp_path / "predictions/a-b/fold2.parquet"
    assert sample.path == cell.path / "sample3"
    assert sample.predictions == tmp_path / "predictions/a-b/samples/fold2-3.parquet"
    assert CellFolder.at(cell.path) == cell


def test_a_cell_of_another_seed_has_a_folder_beside_that_of_the_first(tmp_path):
    cell = RunFolder(tmp_path).cell(Cell("A, b", 12, seed=3))
    assert cell.path == tmp_path / "cells/a-b/fold12-seed3"
    assert cell.predictions == tmp_path / "predictions/a-b/fold12-seed3.parquet"
    assert (cell.number, cell.seed) == (12, 3)
    assert CellFolder.at(cell.path) == cell


def test_a_cell_is_finished_once_its_prediction_file_exists(tmp_path):
    run = RunFolder(tmp_path)
    for cell in (Cell("b", 0), Cell("a", 1), Cell("a", 0, 2)):
        assert not run.cell(cell).is_finished
        run.cell(cell).predictions.parent.mkdir(parents=True, exist_ok=True)
        run.cell(cell).predictions.touch()
        assert run.cell(cell).is_finished
    assert [cell.name for cell in run.finished_cells()] == ["cells/a/fold1", "cells/b/fold0"]
    assert [cell.fold for cell in run.finished_cells("a")] == ["fold1"]


def test_folders_of_arms_have_names_of_lower_case_letters_and_digits():
    assert layout.slug("SIFA covid→cap, validated (2)") == "sifa-covid-cap-validated-2"
