"""Every family trains through Ray Train on two workers without a GPU, as in one process."""

import json
import subprocess
import sys

import numpy as np
import pytest
from torch import nn

import lus_ray as lus
from lus_ray.data.loading import memmap, shared_memory
from lus_ray.orchestration.ray_train import synchronise_norms
from lus_ray.runs import predictions
from lus_ray.runs.cell import Cell
from lus_ray.runs.layout import RunFolder
from tests.conftest import local_cluster
from tests.ray_data import BLOCKS_FILE, join_streams_of_process
from tests.training.test_workers import FAMILIES

FAMILIES_OF_STUDIES = {
    "biomarkers": ("biomarkers", "biomarkers I3D"),
    "bline_adaptation": ("unet covid", "sifa covid→cap", "matched covid→cap"),
    "frame_scores": ("cnn-sord", "resnet18-sord", "reg-stn-sord"),
    "marker_segmentation": ("unet", "nested unet, augmented", "deeplab, augmented"),
    "video_scores": ("frames",),
    "dense_labels": ("dense", "dense, no batch norm"),
    "reverse_transfer": ("from dense",),
}
PLAIN = "dense, no batch norm"
TWO = ("arm.recipe.workers=2",)


def run(study, out, arms, settings=()):
    settings = ("arm.recipe.epochs=1", *settings)
    return lus.run(study, size="smoke", out=out, arms=arms, folds="0", settings=settings)


def cell(out, arm):
    return RunFolder(out).cell(Cell(arm, 0))


@pytest.mark.ray
@pytest.mark.full
@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("study", FAMILIES_OF_STUDIES)
def test_every_family_trains_on_two_workers_and_predicts_every_clip(study, tmp_path):
    arms = FAMILIES_OF_STUDIES[study]
    run(study, tmp_path, arms, TWO)
    for arm in arms:
        folder = cell(tmp_path, arm)
        cost = json.loads(folder.cost.read_text())
        assert np.isfinite(cost["val_scores"].get("score", 0.0))
        assert len(folder.worker_costs()) == 4  # two that trained, two that predicted
        assert len(predictions.read(folder.predictions)[1]) > 0


@pytest.mark.ray
@pytest.mark.full
@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("streamed", [False, True])
def test_a_network_without_batch_norm_has_the_metrics_of_one_process(streamed, tmp_path):
    found = {}
    run("dense_labels", tmp_path / "one", PLAIN)
    if streamed:
        words = [sys.executable, "-m", "tests.orchestration.test_ray_train", tmp_path / "two"]
        subprocess.run([*words, tmp_path / "blocks"], check=True, timeout=240)
        processes = set((tmp_path / "blocks").read_text().split())
        assert len(processes) == 2  # Ray Data has read blocks for both workers
    else:
        run("dense_labels", tmp_path / "two", PLAIN, TWO)
    for name in ("one", "two"):
        folder = cell(tmp_path / name, PLAIN)
        (line,) = folder.metrics.read_text().splitlines()
        table = predictions.read(folder.predictions)[1].to_pylist()
        counts = [np.array(row["counts"]) for row in table if row["counts"] is not None]
        found[name] = json.loads(line), np.concatenate(counts)
    assert found["two"][0] == pytest.approx(found["one"][0], rel=1e-4)
    differing = np.abs(found["one"][1] - found["two"][1]).sum() / found["one"][1].sum()
    assert differing < 1e-3


@pytest.mark.ray
@pytest.mark.full
@pytest.mark.usefixtures("ray_cluster")
def test_inner_models_of_two_workers_are_trained_apart(tmp_path):
    run("video_scores", tmp_path, "frames, cross-fitted", TWO)
    folder = cell(tmp_path, "frames, cross-fitted")
    assert len(folder.metrics.read_text().splitlines()) == 2
    assert len(folder.worker_costs()) == 8


def test_batch_norms_stay_on_cpus_and_are_synchronised_on_gpus():
    task = FAMILIES["U-Net"]()
    synchronise_norms(task)
    assert not any(isinstance(m, nn.SyncBatchNorm) for m in task.modules())
    names = list(task.state_dict())
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(task)
    assert converted is task
    assert list(task.state_dict()) == names


if __name__ == "__main__":  # streamed, on two workers and a CPU for the tasks that read
    shared_memory.SHARE, memmap.SPARE_BYTES = 0.0, 1 << 60
    with local_cluster(
        num_cpus=3, variables={BLOCKS_FILE: sys.argv[2]},
        runtime_env={"worker_process_setup_hook": join_streams_of_process},
    ):  # fmt: skip
        run("dense_labels", sys.argv[1], PLAIN, TWO)
