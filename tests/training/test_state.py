"""A training that continues after a kill: identical to an uninterrupted one, or from the start."""

import json
import math
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from experiments.bline_adaptation import EXPERIMENT, SMOKE
from lus_ray.clip import frames_of, masks_of
from lus_ray.data import store
from lus_ray.data.ingest.pipeline import ingest
from lus_ray.data.loading.batches import InMemory, size_of
from lus_ray.data.transforms.augment import Augment
from lus_ray.data.transforms.view import View
from lus_ray.errors import CellError
from lus_ray.experiment import Recipe
from lus_ray.nets import SifaSegmenter
from lus_ray.runs.cell import Cell
from lus_ray.runs.layout import RunFolder
from lus_ray.runs.plan import RunRequest
from lus_ray.runs.prepare import prepare
from lus_ray.runs.run_cell import run
from lus_ray.tasks import Sifa
from lus_ray.tasks.task import Task
from lus_ray.training import state as state_module
from lus_ray.training.loop import fit
from lus_ray.training.optim import Adam
from lus_ray.training.state import TrainingProgress, TrainingState

EPOCHS, STEPS = 4, 3
SCORES = (0.5, 0.7, 0.6, 0.4, 0.3, 0.2)
PLAIN = Recipe(epochs=EPOCHS, batch=2, lr=0.05, augment=Augment())
RECORD = state_module.EpochRecord(score=0.5, worth=0.5, problem="")


class Killed(Exception):
    pass


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
        loss = (self.net(flat)[:, 0] - flat.mean(dim=1)).square().mean()
        return {"loss": loss * batch.get("poison", 1)}


def make_sifa():
    net = partial(SifaSegmenter, width=1)
    view = View(num_frames=1, height=16, width=16, num_samples=0)
    return Sifa(net, view=view, num_units=1, pool=2)


def seeded(factory, seed=0):
    torch.manual_seed(seed)
    return factory()


def batches(epoch, side, poisoned=()):
    """The batches of an epoch; those of `poisoned` (epoch, number) give a NaN loss."""
    generator = torch.Generator().manual_seed(epoch)

    def greys():
        return torch.randint(0, 256, (2, 1, side, side), generator=generator).byte()

    for number in range(STEPS):
        batch = {"frames": greys(), "target_frames": greys(), "masks": greys() % 2}
        is_bad = (epoch, number) in poisoned
        yield batch | ({"poison": torch.tensor(math.nan)} if is_bad else {})


def train(task, recipe, path=None, *, killed_in=None, poisoned=()):
    """The reports, the result and the weights; raises `Killed` after these (epochs, steps)."""
    log, scores = [], {}
    begun = position_of(path)[0] if path else 0

    def data(epoch, start):
        own = islice(batches(epoch, task.view.height, poisoned), start, None)
        for step, batch in enumerate(own, start):
            if (epoch, step) == killed_in:
                raise Killed
            yield batch
        if (epoch, STEPS) == killed_in:
            raise Killed

    def validate(task):
        scores["score"] = SCORES[len(log) + begun]
        return dict(scores)

    result = fit(
        task, batches=data, validate=validate, recipe=recipe, seed=3, report=log.append,
        state=path and TrainingState(path, every_s=0),
    )  # fmt: skip
    return log, result, task.state_dict()


def position_of(path):
    """Complete epochs and further steps of a state file; none if it is absent or not readable."""
    try:
        with safe_open(path, "pt") as file:
            info = json.loads(file.metadata()[state_module.KEY])
    except (OSError, SafetensorError, KeyError, TypeError):
        return 0, 0
    return len(info["past"]), (info["unfinished"] or {"step": 0})["step"]


def assert_equal(tensors, expected):
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(tensors[name], expected[name]) for name in tensors)


def check_continues(factory, recipe, folder, *, kills, poisoned=()):
    """Kill and continue: reports, result and weights are those of one run."""
    log, result, weights = train(seeded(factory), recipe, poisoned=poisoned)
    for killed_in in kills:
        path = folder / "state-{}-{}".format(*killed_in)
        with suppress(Killed):
            train(seeded(factory), recipe, path, killed_in=killed_in, poisoned=poisoned)
        assert position_of(path) == killed_in
        torch.manual_seed(99 if any(killed_in) else 0)  # the state restores its own random numbers
        rest, continued, restored = train(factory(), recipe, path, poisoned=poisoned)
        expected = log[killed_in[0] :]
        assert (json.dumps(rest), continued) == (json.dumps(expected), result)
        assert_equal(restored, weights)
    return result


@pytest.mark.parametrize(
    "changes",
    [
        {"plateau": 0.5, "patience": 0},
        {"cosine": True, "warmup": 0.5, "weight_decay": 0.1},
        {"milestones": (1, 3), "select": "last", "l2": 0.1},
        {"select": "loss"},
        {"norm_batches": 2},
    ],
    ids=["plateau and best", "cosine and best", "milestones and last", "loss", "batch norms"],
)
def test_a_killed_or_complete_training_continues_as_if_uninterrupted(tmp_path, changes):
    kills = [(0, 2), (1, 0), (1, STEPS), (3, 1), (EPOCHS, 0)]
    check_continues(Grey, replace(PLAIN, **changes), tmp_path, kills=kills)


@pytest.mark.slow
def test_several_networks_continue_with_their_adams_and_image_pools(tmp_path):
    recipe = Recipe(epochs=2, batch=2, lr=1e-3, augment=Augment(), select="last")
    check_continues(make_sifa, recipe, tmp_path, kills=[(1, 1)])


POISON = {(1, 2), (2, 0), (2, 1)}


class Problematic(Grey):
    """Finds a problem after the first epoch."""

    def find_problem(self, losses):
        return "all is lost" if self.progress > 0 else ""


@pytest.mark.parametrize(
    ("epochs", "killed_in", "poisoned", "note"),
    [
        (10, (4, 1), (), "all is lost in 5 epochs in a row, to epoch 5"),
        (4, (2, 0), POISON, "the loss was not finite 3 times in a row in epoch 2"),
        (4, (2, 1), POISON, "the loss was not finite 3 times in a row in epoch 2"),
        (4, (1, 2), {(1, 1)}, "epoch 1: 1 steps without a finite loss were skipped"),
    ],
    ids=["problems", "poison", "poison in an epoch", "skipped"],
)
def test_problems_and_bad_steps_are_counted_across_a_kill(
    tmp_path, epochs, killed_in, poisoned, note
):
    recipe = replace(PLAIN, epochs=epochs, select="last")
    result = check_continues(Problematic, recipe, tmp_path, kills=[killed_in], poisoned=poisoned)
    assert note in result.notes
    assert result.epoch == 0


def write_state(tmp_path, factory=Grey, killed_in=(2, 0)):
    path = tmp_path / "state"
    with pytest.raises(Killed):
        train(seeded(factory), PLAIN, path, killed_in=killed_in)
    return path


def rewrite(path, tensors, **changes):
    with safe_open(path, "pt") as file:
        info = json.loads(file.metadata()[state_module.KEY])
    save_file(tensors, path, {state_module.KEY: json.dumps(info | changes)})


def replace_tensor(name, new_name, value=None):
    """Spoil a state: one tensor has another name or value, or is absent."""

    def spoil(path):
        tensors = load_file(path)
        old = tensors.pop(name)
        rewrite(path, tensors | ({new_name: old if value is None else value} if new_name else {}))

    return spoil


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-10]),
        lambda path: path.write_bytes(b""),
        lambda path: save_file({"x": torch.zeros(1)}, path, {"made by": "another program"}),
        replace_tensor("task.net.0.weight", "task.net.0.weight", torch.zeros(9, 9)),
        replace_tensor("task.net.0.weight", "task.net.9.weight"),
        replace_tensor("adam.net.0.exp_avg", "adam.net.0.exp_avg", torch.zeros(2)),
        replace_tensor("generator.cpu", None),
        lambda path: rewrite(path, load_file(path), field_of_a_later_version=3),
    ],
    ids=["cut", "empty", "foreign", "wider", "renamed", "other Adam", "no generator", "later"],
)
def test_a_state_that_does_not_fit_changes_nothing_but_leaves_a_note(tmp_path, spoil):
    path = write_state(tmp_path)
    spoil(path)
    task = seeded(Grey)
    random_state = torch.get_rng_state()
    progress = TrainingState(path).load(task, {"net": torch.optim.Adam(task.parameters())})
    (note,) = progress.notes
    assert note.startswith("state could not be read (")
    assert note.endswith("): training started over")
    assert "\n" not in note
    assert progress.epoch == 0
    assert torch.equal(torch.get_rng_state(), random_state)
    assert_equal(task.state_dict(), seeded(Grey).state_dict())


def claim_two_workers(path):
    with safe_open(path, "pt") as file:
        done = json.loads(file.metadata()[state_module.KEY])["unfinished"]
    rewrite(path, load_file(path), unfinished=done | {"num_workers": 2})


def test_another_number_of_workers_continues_from_before_the_epoch(tmp_path):
    log, result, weights = train(seeded(Grey), PLAIN)
    path = write_state(tmp_path, killed_in=(2, 1))
    claim_two_workers(path)
    rest, continued, restored = train(Grey(), PLAIN, path)
    assert rest == log[2:]
    assert (
        continued.notes[0] == "2 workers stopped in the middle of epoch 2: 1 went on from epoch 2"
    )
    assert continued.scores == result.scores
    assert_equal(restored, weights)


def test_another_number_of_workers_is_refused_in_the_first_epoch(tmp_path):
    path = write_state(tmp_path, killed_in=(0, 1))
    claim_two_workers(path)
    with pytest.raises(CellError, match="2 workers stopped in the middle of epoch 0; set arm"):
        train(Grey(), PLAIN, path)


def test_a_kill_between_two_renames_loses_no_more_than_the_epoch(tmp_path):
    path = write_state(tmp_path, killed_in=(2, 1))
    path.unlink()
    task = Grey()
    progress = TrainingState(path).load(task, {"net": Adam(task.parameters(), lr=0.05)})
    assert (progress.epoch, progress.unfinished) == (2, None)


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
    assert {file.name for file in tmp_path.iterdir()} == {path.name, "state-epoch"}
    expected, _, undisturbed = train(seeded(Grey), PLAIN)
    assert log == expected[2:]
    assert_equal(weights, undisturbed)


def test_a_state_is_written_once_an_interval_and_less_often_where_writing_is_slow(tmp_path):
    task, state = seeded(Grey), TrainingState(tmp_path / "state", every_s=3600)
    state.save(task, {}, TrainingProgress([RECORD]))
    assert not state.path.exists()
    state.written_between -= 3601
    state.save(task, {}, TrainingProgress([RECORD]))
    assert position_of(state.path) == (1, 0)
    state.written_between, state.write_s = time.monotonic() - 3601, 100.0
    state.save(task, {}, TrainingProgress([RECORD, RECORD]))
    assert position_of(state.path) == (1, 0)


@pytest.mark.slow
def test_a_state_has_tensors_by_group_and_can_be_removed_twice(tmp_path):
    path = write_state(tmp_path, make_sifa, killed_in=(1, 0))
    groups = [name.split(".")[:2] for name in load_file(path)]
    assert {group for group, _ in groups} == {"task", "adam", "memory", "generator", "best"}
    assert {name for group, name in groups if group == "adam"} == set(make_sifa().networks)
    state = TrainingState(path)
    state.remove()
    state.remove()
    assert not path.exists()
    assert state.load(seeded(Grey), {}).epoch == 0


@pytest.mark.slow
def test_a_killed_cell_continues_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setenv("LUS_STATE_SECONDS", "0")
    ingest("phantom", None, tmp_path / "store", **SMOKE.phantom)
    (arm,) = EXPERIMENT.at("smoke").only(("unet covid",)).arms
    experiment = EXPERIMENT.with_arms((replace(arm, recipe=replace(arm.recipe, epochs=3)),))
    view, clips = arm.task().view, list(store.read(tmp_path / "store"))
    pixels = InMemory(
        {size_of(view): {clip["clip"]: view.resize(frames_of(clip)) for clip in clips}},
        {size_of(view): {clip["clip"]: view.resize_masks(masks_of(clip)) for clip in clips}},
    )

    def start(out, killed_in=None):
        def report(values):
            if values["epoch"] == killed_in:
                raise Killed

        request = RunRequest(experiment, data=tmp_path / "store", out=out, size="smoke")
        run(Cell(arm.name, 0), prepare(request), pixels, report)

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    start(whole)
    with pytest.raises(Killed):
        start(killed, killed_in=2)
    cell, expected = (RunFolder(out).cell(Cell(arm.name, 0)) for out in (killed, whole))
    assert not cell.is_finished
    assert position_of(cell.state) == (2, 4)  # all steps of an epoch that is not validated
    start(killed)
    assert cell.metrics.read_text() == expected.metrics.read_text()
    weights = Path("checkpoint") / "weights.safetensors"
    assert_equal(load_file(cell.path / weights), load_file(expected.path / weights))
    cost = json.loads(cell.cost.read_text())
    assert cost["epochs"] == 3
    assert any("after 2 epochs" in note for note in cost["notes"])
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
