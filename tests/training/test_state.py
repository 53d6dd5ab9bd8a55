"""A training that continues after a kill: identical to an uninterrupted one, or from the start."""

import json
import math
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from experiments.bline_adaptation import SMOKE
from lus_ray.data.ingest.pipeline import ingest
from lus_ray.data.transforms.augment import Augment
from lus_ray.data.transforms.view import View
from lus_ray.experiment import Recipe
from lus_ray.nets import SifaSegmenter
from lus_ray.runs.cell import Cell
from lus_ray.runs.layout import RunFolder
from lus_ray.tasks import Sifa
from lus_ray.tasks.task import Task
from lus_ray.training import state as state_module
from lus_ray.training.loop import fit
from lus_ray.training.optim import Adam
from lus_ray.training.state import TrainingProgress, TrainingState

ROOT = Path(__file__).resolve().parents[2]
EPOCHS = 4
SCORES = (0.5, 0.7, 0.6, 0.4, 0.3)
"""Validation scores of the epochs, and of the kept parameters where the loss selects."""
PLAIN = Recipe(epochs=EPOCHS, batch=2, lr=0.05, augment=Augment())
RECORD = state_module.EpochRecord(score=0.5, worth=0.5, problem="")


class Killed(Exception):
    """Ends a training where a test wants it to."""


class Grey(Task):
    """The mean grey of a frame by two layers with normalisation and dropout between them."""

    def __init__(self):
        super().__init__()
        self.view = View(num_frames=1, height=8, width=8)
        self.net = nn.Sequential(
            nn.Linear(64, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 1)
        )

    def forward(self, batch, network):
        flat = batch["frames"].flatten(1)
        return {"loss": (self.net(flat)[:, 0] - flat.mean(dim=1)).square().mean()}


def make_sifa():
    net = partial(SifaSegmenter, width=1)
    view = View(num_frames=1, height=16, width=16, num_samples=0)
    return Sifa(net, view=view, num_units=1, pool=2)


def seeded(factory, seed=0):
    torch.manual_seed(seed)
    return factory()


def batches(epoch, side=8):
    generator = torch.Generator().manual_seed(epoch)

    def greys():
        return torch.randint(0, 256, (2, 1, side, side), generator=generator).byte()

    for _ in range(3):
        yield {"frames": greys(), "target_frames": greys(), "masks": greys() % 2}


def train(task, recipe, path=None, *, killed_in=None, side=8):
    """The reports, the result and the weights; raises `Killed` as an epoch is reported."""
    log, scores = [], {}
    begun = epochs_of(path) if path else 0

    def validate(task):
        scores["score"] = SCORES[len(log) + begun]
        return dict(scores)

    def report(values):
        if values["epoch"] == killed_in:
            raise Killed
        log.append(values)

    result = fit(
        task, batches=partial(batches, side=side), validate=validate, recipe=recipe, seed=3,
        report=report, state=path and TrainingState(path, every_s=0),
    )  # fmt: skip
    return log, result, task.state_dict()


def epochs_of(path):
    """Complete epochs of a state file; 0 if there is none or it is not readable."""
    try:
        with safe_open(path, "pt") as file:
            return len(json.loads(file.metadata()[state_module.KEY])["past"])
    except (OSError, SafetensorError, KeyError, TypeError):
        return 0


def assert_equal(tensors, expected):
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(tensors[name], expected[name]) for name in tensors)


def check_continues(factory, recipe, path, *, killed_in, side=8):
    """Kill in an epoch and continue: reports, result and weights are those of one run."""
    log, result, weights = train(seeded(factory), recipe, side=side)
    with pytest.raises(Killed):
        train(seeded(factory), recipe, path, killed_in=killed_in, side=side)
    assert epochs_of(path) == killed_in
    torch.manual_seed(99 if killed_in else 0)  # the state restores its own random numbers
    rest, continued, restored = train(factory(), recipe, path, side=side)
    assert (rest, continued) == (log[killed_in:], result)
    assert_equal(restored, weights)


@pytest.mark.parametrize("killed_in", range(EPOCHS))
@pytest.mark.parametrize(
    "changes",
    [
        {"plateau": 0.5, "patience": 0},
        {"cosine": True, "warmup": 0.5, "weight_decay": 0.1},
        {"milestones": (1, 3), "select": "last", "l2": 0.1},
        {"select": "loss"},
    ],
    ids=["plateau and best", "cosine and best", "milestones and last", "loss"],
)
def test_a_killed_training_continues_as_if_uninterrupted(tmp_path, changes, killed_in):
    recipe = Recipe(**{**vars(PLAIN), **changes})
    check_continues(Grey, recipe, tmp_path / "state", killed_in=killed_in)


@pytest.mark.parametrize("killed_in", [1, 3])
def test_several_networks_continue_with_their_adams_and_image_pools(tmp_path, killed_in):
    recipe = Recipe(epochs=EPOCHS, batch=2, lr=1e-3, augment=Augment(), select="last")
    check_continues(make_sifa, recipe, tmp_path / "state", killed_in=killed_in, side=16)


def test_a_complete_training_is_not_repeated(tmp_path):
    path = tmp_path / "state"
    log, result, weights = train(seeded(Grey), PLAIN, path)
    assert len(log) == EPOCHS
    rest, continued, restored = train(seeded(Grey, seed=5), PLAIN, path)
    assert (rest, continued) == ([], result)
    assert_equal(restored, weights)


class Problematic(Grey):
    """Finds a problem after the first epoch, and a NaN loss in poisoned batches."""

    def find_problem(self, losses):
        return "all is lost" if self.progress > 0 else ""

    def forward(self, batch, network):
        return {"loss": super().forward(batch, network)["loss"] * batch.get("poison", 1)}


def fit_killable(recipe, path=None, killed_in=None, poisoned=()):
    def data(epoch):
        if epoch == killed_in:
            raise Killed
        for number, batch in enumerate(batches(epoch)):
            is_bad = (epoch, number) in poisoned
            yield batch | ({"poison": torch.tensor(math.nan)} if is_bad else {})

    return fit(
        seeded(Problematic), batches=data, validate=lambda task: {"score": 0.5}, recipe=recipe,
        seed=0, report=lambda values: None, state=path and TrainingState(path, every_s=0),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("epochs", "killed_in", "poisoned", "note"),
    [
        (10, 4, (), "all is lost in 5 epochs in a row, to epoch 5"),
        (4, 2, {(1, 2), (2, 0), (2, 1)}, "the loss was not finite 3 times in a row in epoch 2"),
    ],
    ids=["problems", "poison"],
)
def test_problems_and_bad_steps_are_counted_across_a_kill(
    tmp_path, epochs, killed_in, poisoned, note
):
    recipe, path = Recipe(epochs=epochs, batch=2, lr=0.05, select="last"), tmp_path / "state"
    expected = fit_killable(recipe, poisoned=poisoned)
    assert note in expected.notes
    assert expected.epoch == 0
    with pytest.raises(Killed):
        fit_killable(recipe, path, killed_in, poisoned)
    assert epochs_of(path) == killed_in
    assert fit_killable(recipe, path, poisoned=poisoned) == expected


def write_state(tmp_path, factory=Grey):
    """A state after two epochs."""
    path = tmp_path / "state"
    with pytest.raises(Killed):
        train(seeded(factory), PLAIN, path, killed_in=2, side=16 if factory is make_sifa else 8)
    return path


def rewrite(path, tensors, **changes):
    with safe_open(path, "pt") as file:
        info = json.loads(file.metadata()[state_module.KEY])
    save_file(tensors, path, {state_module.KEY: json.dumps(info | changes)})


def change_tensors(change):
    def spoil(path):
        rewrite(path, change(load_file(path)))

    return spoil


def rename_weight(tensors):
    return {n.replace("task.net.0.weight", "task.net.9.weight"): v for n, v in tensors.items()}


def widen(tensors):
    return tensors | {n: torch.zeros(9, 9) for n in tensors if n.endswith("net.0.weight")}


def drop_random_numbers(tensors):
    return {n: v for n, v in tensors.items() if not n.startswith("generator.")}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-10]),
        lambda path: path.write_bytes(b""),
        lambda path: save_file({"x": torch.zeros(1)}, path, {"made by": "another program"}),
        change_tensors(widen),
        change_tensors(rename_weight),
        change_tensors(lambda tensors: tensors | {"adam.net.0.exp_avg": torch.zeros(2)}),
        change_tensors(drop_random_numbers),
        lambda path: rewrite(path, load_file(path), field_of_a_later_version=3),
    ],
    ids=["cut", "empty", "foreign", "wider", "renamed", "other Adam", "no generator", "later"],
)
def test_a_state_that_does_not_fit_starts_over_with_a_note(tmp_path, spoil):
    path = write_state(tmp_path)
    spoil(path)
    task = seeded(Grey)
    progress = TrainingState(path).load(task, {"net": torch.optim.Adam(task.parameters())})
    (note,) = progress.notes
    assert note.startswith("state could not be read (")
    assert note.endswith("): training started over")
    assert "\n" not in note
    assert progress.epoch == 0
    assert_equal(task.state_dict(), seeded(Grey).state_dict())


def test_a_training_that_starts_over_equals_one_without_a_state(tmp_path):
    log, result, weights = train(seeded(Grey), PLAIN)
    path = tmp_path / "state"
    path.write_bytes(b"")
    repeated, other_result, other_weights = train(seeded(Grey), PLAIN, path)
    assert (repeated, other_result.epoch, len(other_result.notes)) == (log, result.epoch, 1)
    assert_equal(other_weights, weights)


@pytest.mark.parametrize("error", [OSError("no space left"), SafetensorError("no space left")])
def test_training_continues_if_a_state_cannot_be_written(tmp_path, monkeypatch, error):
    path = write_state(tmp_path)
    before = path.read_bytes()

    def fail(tensors, aside, metadata):
        aside.write_bytes(b"half")
        raise error

    monkeypatch.setattr(state_module, "save_file", fail)
    log, result, weights = train(seeded(Grey), PLAIN, path)
    assert result.notes == ("state could not be written (no space left): training continued",)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    expected, _, undisturbed = train(seeded(Grey), PLAIN)
    assert log == expected[2:]
    assert_equal(weights, undisturbed)


def test_a_state_is_written_once_an_interval_and_less_often_where_writing_is_slow(tmp_path):
    task, state = seeded(Grey), TrainingState(tmp_path / "state", every_s=3600)
    state.save(task, {}, TrainingProgress([RECORD]))
    assert not state.path.exists()
    state.written -= 3601
    state.save(task, {}, TrainingProgress([RECORD]))
    assert epochs_of(state.path) == 1
    state.written, state.write_s = time.monotonic() - 3601, 100.0
    state.save(task, {}, TrainingProgress([RECORD, RECORD]))
    assert epochs_of(state.path) == 1


def test_a_state_has_tensors_by_group_and_can_be_removed_twice(tmp_path):
    path = write_state(tmp_path, make_sifa)
    groups = [name.split(".")[:2] for name in load_file(path)]
    assert {group for group, _ in groups} == {"task", "adam", "memory", "generator", "best"}
    assert {name for group, name in groups if group == "adam"} == set(make_sifa().networks)
    state = TrainingState(path)
    state.remove()
    state.remove()
    assert not path.exists()
    assert state.load(seeded(Grey), {}).epoch == 0


ARM, KILLED_AFTER = "sifa covid→cap", 3
SCRIPT = f"""
import sys
from dataclasses import replace
from pathlib import Path

from experiments.bline_adaptation import EXPERIMENT
from lus_ray.clip import frames_of, masks_of
from lus_ray.data import store
from lus_ray.data.loading.batches import InMemory
from lus_ray.runs.cell import Cell
from lus_ray.runs.plan import RunRequest
from lus_ray.runs.prepare import prepare
from lus_ray.runs.run_cell import run
from lus_ray.training import state

state.EVERY_S = 0
data, out = map(Path, sys.argv[1:])
(arm,) = EXPERIMENT.at("smoke").only(("{ARM}",)).arms
arm = replace(arm, recipe=replace(arm.recipe, epochs=8))
plan = prepare(RunRequest(EXPERIMENT.with_arms((arm,)), data=data, out=out, size="smoke"))
view = arm.task().view
clips = list(store.read(data))
pixels = InMemory(
    {{(48, 48): {{clip["clip"]: view.resize(frames_of(clip)) for clip in clips}}}},
    {{(48, 48): {{clip["clip"]: view.resize_masks(masks_of(clip)) for clip in clips}}}},
)
run(Cell(arm.name, 0), plan, pixels, lambda values: None)
"""


def start(data, out):
    return subprocess.Popen([sys.executable, "-c", SCRIPT, data, out], cwd=ROOT)


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.full
def test_a_killed_cell_continues_where_it_was(tmp_path):
    data, whole, killed = (tmp_path / name for name in ("store", "whole", "killed"))
    ingest("phantom", None, data, **SMOKE.phantom)
    assert start(data, whole).wait(timeout=200) == 0
    cell, expected = (RunFolder(out).cell(Cell(ARM, 0)) for out in (killed, whole))
    process = start(data, killed)
    while not cell.metrics.exists() or cell.metrics.read_text().count("\n") <= KILLED_AFTER:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not cell.is_finished
    num_done = epochs_of(cell.state)
    assert KILLED_AFTER <= num_done < 8
    assert start(data, killed).wait(timeout=200) == 0
    assert cell.metrics.read_text() == expected.metrics.read_text()
    weights = Path("checkpoint") / "weights.safetensors"
    assert_equal(load_file(cell.path / weights), load_file(expected.path / weights))
    cost = json.loads(cell.cost.read_text())
    assert cost["epochs"] == 8
    assert any(f"after {num_done} epochs" in note for note in cost["notes"])
    assert not list(tmp_path.rglob("*state.safetensors*"))


def test_the_fused_adam_continues_where_channels_are_last(tmp_path):
    """As on a GPU: it refuses moments with another memory layout than their parameters."""
    path = tmp_path / "state.safetensors"

    def begin():
        task = seeded(Grey)
        task.net = seeded(lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 2, 3)))
        task.to(memory_format=torch.channels_last)
        return task, {"net": Adam(task.net.parameters(), fused=True)}

    def step(task, adams):
        task.zero_grad()
        frames = torch.ones(2, 1, 8, 8).contiguous(memory_format=torch.channels_last)
        task.net(frames).square().mean().backward()
        adams["net"].step()
        return {name: value.detach().clone() for name, value in task.named_parameters()}

    task, adams = begin()
    step(task, adams)
    TrainingState(path, every_s=0).save(task, adams, TrainingProgress(past=[RECORD]))
    restored, other_adams = begin()
    assert TrainingState(path).load(restored, other_adams).past == [RECORD]
    assert_equal(step(task, adams), step(restored, other_adams))
