"""Workers and shares of a GPU on simulated clusters of four nodes with one to four GPUs."""

import importlib
from functools import partial

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from lus_ray.cli import main
from lus_ray.data.transforms.view import View
from lus_ray.experiment import Arm, Experiment, Recipe
from lus_ray.folds import rotating
from lus_ray.nets import UNet
from lus_ray.orchestration import planner
from lus_ray.orchestration.plan_table import render, simulate
from lus_ray.orchestration.step_costs import count_steps, read_steps, trains_on_gpu
from lus_ray.orchestration.worker_rule import allocate, step_seconds
from lus_ray.runs.layout import STEPS, RunFolder
from lus_ray.tasks import BinarySegmentation, IntensityFeatures
from lus_ray.training.step_cost import StepCost, count_step, measure_step

# Of an arm at full size: the share of a GPU of each of its cells, on nodes with one to four GPUs,
# when the whole study runs; the workers on whole GPUs when one cell runs alone; and why.
ONE, HALF, THIRD = 1.0, 0.5, 1 / 3
TABLE = {
    ("biomarkers", "biomarkers"): ((HALF, THIRD, HALF, HALF), (1, 1, 1, 1), "waits for launches"),
    ("biomarkers", "biomarkers I3D"): ((ONE,) * 4, (1, 1, 1, 1), "the GPU computes 80 %"),
    ("bline_adaptation", "unet covid"): ((THIRD,) * 4, (1, 1, 1, 1), "waits for launches"),
    ("bline_adaptation", "sifa covid→cap"): ((ONE,) * 4, (1, 1, 1, 1), "fills the memory"),
    ("bline_adaptation", "unet covid, batch norm re-estimated"): (
        (THIRD,) * 4, (1, 1, 1, 1), "forward passes of the same network",
    ),
    ("bline_adaptation", "place"): ((0.0,) * 4, (1, 1, 1, 1), "no layer to compute"),
    ("frame_scores", "cnn-sord"): ((ONE,) * 4, (1, 1, 1, 1), "6 ms, of which 4 for launches"),
    ("frame_scores", "reg-stn-sord"): ((ONE,) * 4, (1, 1, 1, 1), "half a batch takes as long"),
    ("marker_segmentation", "unet"): ((ONE,) * 4, (1, 2, 2, 2), "2 MB of gradients for 6 ms"),
    ("marker_segmentation", "canonical nested unet, augmented"): (
        (ONE,) * 4, (1, 2, 2, 2), "arithmetic for 109 ms",
    ),
    ("video_scores", "frames"): ((ONE,) * 4, (1, 1, 1, 1), "as reg-stn-sord"),
    ("video_scores", "attention"): ((0.0,) * 4, (1, 1, 1, 1), "reads no frames"),
    ("dense_labels", "dense"): ((ONE,) * 4, (1, 2, 2, 2), "124 MB hide in the backward pass"),
    ("reverse_transfer", "from dense"): ((ONE,) * 4, (1, 2, 2, 2), "the same network"),
    ("classify", "network"): ((HALF, ONE, ONE, ONE), (1, 1, 1, 1), "more GPUs than folds"),
}  # fmt: skip


@pytest.mark.full
@pytest.mark.parametrize("study", dict.fromkeys(study for study, _ in TABLE))
def test_workers_and_shares_of_each_family_at_full_size(study):
    experiment = importlib.import_module(f"experiments.{study}").EXPERIMENT
    costs = count_steps(experiment)
    plan = partial(planner.plan_resources, experiment, size="full", costs=costs)
    for arm in (name for own, name in TABLE if own == study):
        shares, workers, why = TABLE[study, arm]
        for number, gpus in enumerate(range(1, 5)):
            cluster = simulate(4, gpus)
            together, alone = plan(cluster)[arm], plan(cluster, num_cells=1)[arm]
            assert together.workers == 1, why
            assert together.gpus_per_worker == pytest.approx(shares[number]), why
            assert alone.workers == workers[number], why
            assert experiment.arm(arm).recipe.batch % alone.workers == 0
            assert together.can_fit(cluster)
            assert alone.workers <= gpus or not alone.on_one_node
            trained = trains_on_gpu(experiment.arm(arm))
            assert together.by_train == alone.by_train == trained
    for gpus in range(1, 5):
        cluster = simulate(4, gpus)
        for wanted in plan(cluster).values():
            if wanted.gpus_per_worker:  # as many cells at a time as fill every GPU
                held = wanted.count_cells(cluster) * wanted.workers * wanted.gpus_per_worker
                assert held == pytest.approx(4 * gpus)
    assert "a step (counted" in render(plan(simulate(4, 2)), simulate(4, 2), 3)


def cost(*, step=0.1, fixed=0.0, busy=None, gradients=0, norms=0, memory=0.1, batch=8):
    return StepCost(batch, step, fixed, step if busy is None else busy, gradients, norms, memory)


@pytest.mark.parametrize(
    ("step", "num_cells", "nodes", "gpus", "workers", "share"),
    [
        (cost(), 1, 1, 4, 4, 1.0),  # nothing to exchange: four times as fast
        (cost(batch=6), 1, 1, 4, 3, 1.0),  # four do not divide six
        (cost(batch=1), 1, 1, 4, 1, 1.0),
        (cost(), 4, 1, 4, 1, 1.0),  # a GPU for each cell: folds come before workers
        (cost(), 2, 1, 4, 2, 1.0),
        (cost(fixed=0.1), 1, 1, 4, 1, 1.0),  # half a batch takes as long
        (cost(gradients=10**9), 1, 4, 1, 1, 1.0),  # 1.5 s between nodes
        (cost(gradients=10**8), 1, 1, 4, 4, 1.0),  # 15 ms of 17 hide in the backward pass
        (cost(gradients=4 * 10**8), 1, 1, 4, 2, 1.0),
        (cost(norms=200), 1, 1, 4, 2, 1.0),  # 48 ms of launches bound the step
        (cost(fixed=0.1, busy=0.02), 40, 1, 4, 1, 1 / 4),  # four share a GPU without waiting
        (cost(fixed=0.1, busy=0.02, memory=0.3), 40, 1, 4, 1, 1 / 2),  # two fit its memory
        (cost(fixed=0.1, busy=0.02), 4, 1, 4, 1, 1.0),  # nobody to share with
        (cost(), 40, 1, 4, 1, 1.0),  # a busy GPU is shared for nothing
    ],
)
def test_as_many_workers_as_pay(step, num_cells, nodes, gpus, workers, share):
    chosen = allocate(step, simulate(nodes, gpus), num_cells=num_cells)
    assert (chosen.workers, chosen.gpus) == (workers, pytest.approx(share))
    assert chosen.on_one_node == (workers <= gpus)


def test_a_step_of_two_workers_is_the_formula_of_the_readme():
    dense = cost(step=0.0512, fixed=0.005, gradients=124_100_000, norms=18, batch=4)
    # 12.4 ms of gradients within 17.1 ms of backward pass; 36 exchanges of 20 us
    assert step_seconds(dense, 2, on_one_node=True) == pytest.approx(0.0256 + 36 * 20e-6 + 1e-3)
    # 124.1 ms through the network, of which 17.1 are hidden
    over = 0.0256 + (0.1241 - 2 / 3 * 0.0256) + 36 * 20e-6 + 1e-3
    assert step_seconds(dense, 2, on_one_node=False) == pytest.approx(over)


@pytest.mark.slow
def test_the_command_prints_the_plan_and_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["run", "dense_labels", "--arms", "dense", "--folds", "0", "--plan"]
    printed = CliRunner().invoke(main, [*words, "1x2"])
    assert printed.exit_code == 0, printed.output
    assert "2 workers with 1 GPU each, in Ray Train (51 ms a step (counted)" in printed.output
    cpus = CliRunner().invoke(main, [*words, "2x0"]).output
    assert "1 worker with 1 CPU, in the trial's process (no GPU)" in cpus
    wrong = CliRunner().invoke(main, [*words, "two"])
    assert (wrong.exit_code, len(wrong.output.splitlines())) == (2, 1)
    assert not list(tmp_path.iterdir())


VIEW = View(num_frames=1, height=16, width=16, num_samples=0)
NETWORK = partial(BinarySegmentation, net=partial(UNet, widths=(4, 8)), view=VIEW)


def study(**recipe):
    recipe = Recipe(epochs=1, batch=4, lr=0.1, **recipe)
    arms = (Arm("features", partial(IntensityFeatures)), Arm("net", NETWORK, recipe))
    return Experiment("test", "Test", rotating(3), arms, ("auc",))


@pytest.mark.parametrize(
    ("recipe", "gpus", "size", "expected"),
    [
        ({}, 0, "full", (1, 0.0, False)),  # as before, in the process of the trial
        ({"workers": 2}, 0, "full", (2, 0.0, True)),
        ({}, 4, "full", (1, 1.0, True)),
        ({}, 4, "smoke", (1, 1.0, False)),
        ({"workers": 2}, 4, "full", (2, 1.0, True)),
        ({"gpus": 0.25}, 4, "full", (1, 0.25, True)),
        ({"gpus": 0.0}, 4, "full", (1, 0.0, False)),
        ({"workers": 2, "gpus": 0.5}, 4, "full", (2, 0.5, True)),
    ],
)
def test_what_a_recipe_names_wins(recipe, gpus, size, expected):
    experiment = study(**recipe)
    costs = {"net": cost(batch=4, fixed=0.1)}
    planned = planner.plan_resources(experiment, simulate(1, gpus), size=size, costs=costs)
    found = planned["net"]
    assert (found.workers, found.gpus_per_worker, found.by_train) == expected
    assert planned["features"].workers == 1
    assert not trains_on_gpu(experiment.arm("features"))


def test_an_arm_without_epochs_keeps_its_share_in_the_process_of_its_trial():
    estimated = Recipe(epochs=0, norm_batches=2, batch=4, lr=0.1)
    arms = (*study().arms, Arm("estimated", NETWORK, estimated, start="net"))
    experiment = Experiment("test", "Test", rotating(3), arms, ("auc",))
    costs = {name: cost(batch=4, fixed=0.1, busy=0.02) for name in ("net", "estimated")}
    plan = partial(planner.plan_resources, experiment, simulate(1, 1), costs=costs)
    planned = plan(size="full")
    shares = [planned[name].gpus_per_worker for name in ("net", "estimated")]
    assert shares == pytest.approx([1 / 3] * 2)  # three cells train on the one GPU
    assert (planned["net"].by_train, planned["estimated"].by_train) == (True, False)
    assert count_steps(experiment)["estimated"] == count_steps(experiment)["net"]


def test_a_convolution_is_counted_without_running_it():
    class OneConvolution(nn.Module):
        def __init__(self, num_outputs):
            super().__init__()
            self.conv = nn.Conv2d(1, num_outputs, 3, padding=1, bias=False)

        def forward(self, images):
            return self.conv(images)

    recipe = Recipe(epochs=1, batch=4, lr=0.1)
    counted = count_step(partial(BinarySegmentation, net=OneConvolution, view=VIEW), recipe)
    assert counted.gradient_bytes == 4 * 9
    # forward and the gradient of the weights; the images need none
    assert counted.busy_s == pytest.approx(2 * (2 * 9 * 4 * 16 * 16) / 100e12)
    assert counted.fixed_s == counted.step_s > 10 * 30e-6
    assert (counted.num_norms, counted.measured) == (0, "")


def test_a_step_is_measured_on_half_a_batch_too(tmp_path):
    torch.manual_seed(0)
    recipe = Recipe(epochs=1, batch=4, lr=0.1)
    counted = count_step(NETWORK, recipe)
    measured = measure_step(NETWORK, recipe, counted, device="cpu")
    assert (measured.measured, measured.batch) == ("CPU", 4)
    assert measured.gradient_bytes == counted.gradient_bytes > 0
    assert 0 < measured.fixed_s <= measured.step_s < 10
    assert 0 < measured.busy_s <= measured.step_s
    assert read_steps(RunFolder(tmp_path)) == {}
    (tmp_path / STEPS).write_text('{"net": {"batch": 4}}')  # of another version
    assert read_steps(RunFolder(tmp_path)) == {}
