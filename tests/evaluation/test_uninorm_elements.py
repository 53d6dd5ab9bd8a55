import pytest

from lus_ray.errors import CheckpointError, StoreError
from lus_ray.evaluation import results, uninorm_elements
from tests.evaluation.frame_run import UNINORM, write_frame_run, write_neutral


def test_elements_are_averaged_over_the_folds_that_have_them(frame_run):
    elements = frame_run.contents.neutral
    assert [row.arm for row in elements] == ["uninorm", "uninorm on all patients"]
    assert elements[0].mean == pytest.approx([0.0, 0.1, 0.2, 0.4])
    assert elements[0].std == pytest.approx([0, 0, 0, (2 / 3) ** 0.5 / 10])
    assert elements[0].folds[2] == pytest.approx([0.0, 0.1, 0.2, 0.5])


def test_impossible_elements_and_damaged_checkpoints_are_refused_by_file(tmp_path):
    run = results.read(write_frame_run(tmp_path, folds=[0]))
    for values in ([0.0, 0.5, 1.1, 0.2], [float("nan")] * 4, [0.1, 0.2]):
        path = write_neutral(tmp_path, UNINORM, 0, values)
        with pytest.raises(StoreError, match=r"weights\.safetensors: net\.neutral is .* 4 numbers"):
            uninorm_elements.read_all(run)
    path.write_bytes(b"no weights")
    with pytest.raises(CheckpointError, match=r"weights\.safetensors"):
        uninorm_elements.read_all(run)
