"""A training that goes on after a kill: as if nothing had happened, or from the beginning."""

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
from lus_ray.training import state as resume
from lus_ray.training.loop import fit
from lus_ray.training.optim import Adam
from lus_ray.training.state import TrainingState

ROOT = Path(__file__).resolve().parents[2]
EPOCHS = 4
SCORES = (0.5, 0.7, 0.6, 0.4, 0.3)
"""Validation scores of the epochs, the second of which is the best, and of what is kept by loss."""
PLAIN = Recipe(epochs=EPOCHS, batch=2, lr=0.05, augment=Augment())
PAST = resume.EpochRecord(score=0.5, worth=0.5, problem="")


class Killed(Exception):
    """What ends a training where a test wants it to."""


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


def sifa():
    net = partial(SifaSegmenter, width=1)
    view = View(num_frames=1, height=16, width=16, num_samples=0)
    return Sifa(net, view=view, num_units=1, pool=2)


def made(factory, seed=0):
    torch.manual_seed(seed)
    return factory()


def batches(epoch, side=8):
    """Three batches; each epoch has others."""
    generator = torch.Generator().manual_seed(epoch)

    def greys():
        return torch.randint(0, 256, (2, 1, side, side), generator=generator).byte()

    for _ in range(3):
        yield {"frames": greys(), "target_frames": greys(), "masks": greys() % 2}


def train(task, recipe, path=None, *, killed_in=None, side=8):
    """What was reported, what was fitted, and the weights; it dies as an epoch is reported."""
    log = []
    scores = {}

    def validate(task):
        scores["score"] = SCORES[len(log) + begun]
        return dict(scores)

    def report(values):
        if values["epoch"] == killed_in:
            raise Killed
        log.append(values)

    state = path and TrainingState(path, every_s=0)
    begun = 0 if state is None or not path.exists() else epochs_of(path)
    fitted = fit(
        task, batches=partial(batches, side=side), validate=validate, recipe=recipe, seed=3,
        report=report, state=state,
    )  # fmt: skip
    return log, fitted, task.state_dict()


def epochs_of(path):
    """Whole epochs of the state that lies there; 0 for a file that is no state."""
    try:
        with safe_open(path, "pt") as file:
            return len(json.loads(file.metadata()[resume.KEY])["past"])
    except (SafetensorError, KeyError, TypeError):
        return 0


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def goes_on_as_undisturbed(factory, recipe, path, *, killed_in, side=8):
    """Kill in an epoch and go on: reports, kept epoch, notes and weights are those of one run."""
    log, fitted, weights = train(made(factory), recipe, side=side)
    with pytest.raises(Killed):
        train(made(factory), recipe, path, killed_in=killed_in, side=side)
    assert (epochs_of(path) if path.exists() else 0) == killed_in
    torch.manual_seed(99 if killed_in else 0)  # what lies there brings its own random numbers
    rest, again, found = train(factory(), recipe, path, side=side)
    assert rest == log[killed_in:]
    assert again == fitted
    assert same(found, weights)


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
def test_a_training_goes_on_as_if_it_had_never_been_killed(tmp_path, changes, killed_in):
    recipe = Recipe(**{**vars(PLAIN), **changes})
    goes_on_as_undisturbed(Grey, recipe, tmp_path / "state", killed_in=killed_in)


@pytest.mark.parametrize("killed_in", [1, 3])
def test_players_go_on_with_their_own_adams_and_their_pools(tmp_path, killed_in):
    recipe = Recipe(epochs=EPOCHS, batch=2, lr=1e-3, augment=Augment(), select="last")
    goes_on_as_undisturbed(sifa, recipe, tmp_path / "state", killed_in=killed_in, side=16)


def test_a_training_that_was_done_is_not_trained_again(tmp_path):
    path = tmp_path / "state"
    log, fitted, weights = train(made(Grey), PLAIN, path)
    assert len(log) == EPOCHS
    rest, again, found = train(made(Grey, seed=5), PLAIN, path)
    assert (rest, again) == ([], fitted)
    assert same(found, weights)


def test_epochs_of_trouble_are_counted_across_a_kill(tmp_path):
    class Troubled(Grey):
        def find_problem(self, losses):
            return "all is lost" if self.progress > 0 else ""

    recipe = Recipe(epochs=10, batch=2, lr=0.05, select="last")

    def run(path=None, killed_in=None):
        def report(values):
            if values["epoch"] == killed_in:
                raise Killed

        return fit(
            made(Troubled), batches=batches, validate=lambda task: {"score": 0.5}, recipe=recipe,
            seed=0, report=report, state=path and TrainingState(path, every_s=0),
        )  # fmt: skip

    expected = run()
    assert expected.notes == (
        "all is lost in 5 epochs in a row, to epoch 5",
        "epoch 0 was kept, not epoch 9",
    )
    assert expected.epoch == 0
    with pytest.raises(Killed):
        run(tmp_path / "state", killed_in=4)
    assert run(tmp_path / "state") == expected


def test_steps_without_a_finite_loss_are_counted_across_a_kill(tmp_path):
    class Poisoned(Grey):
        def forward(self, batch, network):
            losses = super().forward(batch, network)
            return {"loss": losses["loss"] * (math.nan if "poison" in batch else 1)}

    bad = {(1, 2), (2, 0), (2, 1)}

    def data(epoch, killed_in=None):
        if epoch == killed_in:
            raise Killed
        for number, batch in enumerate(batches(epoch)):
            yield batch | ({"poison": torch.ones(1)} if (epoch, number) in bad else {})

    def run(data, path=None):
        return fit(
            made(Poisoned), batches=data, validate=lambda task: {"score": 0.5}, recipe=PLAIN,
            seed=0, report=lambda values: None, state=path and TrainingState(path, every_s=0),
        )  # fmt: skip

    expected = run(data)
    assert expected.notes[-1] == "the loss was not finite 3 times in a row in epoch 2"
    with pytest.raises(Killed):
        run(partial(data, killed_in=2), tmp_path / "state")
    assert epochs_of(tmp_path / "state") == 2
    assert run(data, tmp_path / "state") == expected


def state_file(tmp_path, factory=Grey):
    """A state after two epochs."""
    path = tmp_path / "state"
    with pytest.raises(Killed):
        train(made(factory), PLAIN, path, killed_in=2, side=16 if factory is sifa else 8)
    return path


def torn(path):
    path.write_bytes(path.read_bytes()[:-10])


def emptied(path):
    path.write_bytes(b"")


def of_no_training(path):
    save_file({"x": torch.zeros(1)}, path, {"made by": "somebody else"})


def rewritten(path, tensors, **changes):
    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()[resume.KEY])
    save_file(tensors, path, {resume.KEY: json.dumps(about | changes)})


def of_another_network(path):
    tensors = load_file(path)
    wider = {n: torch.zeros(9, 9) for n in tensors if n.endswith("net.0.weight")}
    rewritten(path, tensors | wider)


def with_another_name(path):
    tensors = load_file(path)
    tensors["task.net.9.weight"] = tensors.pop("task.net.0.weight")
    rewritten(path, tensors)


def of_another_adam(path):
    tensors = load_file(path)
    rewritten(path, tensors | {"adam.net.0.exp_avg": torch.zeros(2)})


def without_random_numbers(path):
    rewritten(path, {n: v for n, v in load_file(path).items() if not n.startswith("generator.")})


def of_a_later_version(path):
    rewritten(path, load_file(path), epochs_of_something_new=3)


@pytest.mark.parametrize(
    "spoil",
    [
        torn, emptied, of_no_training, of_another_network, with_another_name, of_another_adam,
        without_random_numbers, of_a_later_version,
    ],
)  # fmt: skip
def test_a_state_that_does_not_fit_begins_again_with_a_note(tmp_path, spoil):
    log, fitted, weights = train(made(Grey), PLAIN)
    path = state_file(tmp_path)
    spoil(path)
    task = made(Grey)
    found = TrainingState(path).load(task, {"net": torch.optim.Adam(task.parameters())})
    (note,) = found.notes
    assert note.startswith("state could not be read (")
    assert note.endswith("): training started over")
    assert "\n" not in note
    assert found.epoch == 0
    assert same(task.state_dict(), made(Grey).state_dict()), "nothing of it is put anywhere"
    path.unlink()
    spoiled = tmp_path / "state"
    of_no_training(spoiled)
    again, other, found = train(made(Grey), PLAIN, spoiled)
    assert (again, other.epoch, len(other.notes)) == (log, fitted.epoch, 1)
    assert same(found, weights)


@pytest.mark.parametrize("error", [OSError("no space left"), SafetensorError("no space left")])
def test_where_a_state_cannot_be_written_training_goes_on_and_the_last_one_stays(
    tmp_path, monkeypatch, error
):
    path = state_file(tmp_path)
    before = path.read_bytes()

    def full(tensors, place, about):
        place.write_bytes(b"half")
        raise error

    monkeypatch.setattr(resume, "save_file", full)
    log, fitted, weights = train(made(Grey), PLAIN, path)
    assert fitted.notes == ("state could not be written (no space left): training continued",), (
        "once, however often it is tried"
    )
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path], "nothing half is left aside"
    expected, _, undisturbed = train(made(Grey), PLAIN)
    assert log == expected[2:]
    assert same(weights, undisturbed)


def test_a_state_is_written_aside_and_then_put_in_place(tmp_path, monkeypatch):
    path, seen = tmp_path / "state", []

    def watched(tensors, place, about):
        seen.append((place, path.exists()))
        save_file(tensors, place, about)

    monkeypatch.setattr(resume, "save_file", watched)
    train(made(Grey), PLAIN, path)
    assert [exists for _, exists in seen] == [False, True, True, True]
    assert all(place != path and place.parent == path.parent for place, _ in seen)
    assert list(tmp_path.iterdir()) == [path]


def test_a_state_is_written_now_and_then_only(tmp_path):
    task = made(Grey)
    state = TrainingState(tmp_path / "state", every_s=3600)
    state.save(task, {}, resume.TrainingProgress([PAST]))
    assert not state.path.exists()
    state.written -= 3601
    state.save(task, {}, resume.TrainingProgress([PAST]))
    assert epochs_of(state.path) == 1
    state.written, state.write_s = time.monotonic() - 3601, 100.0
    state.save(task, {}, resume.TrainingProgress([PAST, PAST]))
    assert epochs_of(state.path) == 1, "writing that takes 100 s is not worth it yet"


def test_a_state_holds_no_code_and_is_gone_when_it_is_removed(tmp_path):
    path = state_file(tmp_path, sifa)
    names = load_file(path).keys()
    assert {name.split(".")[0] for name in names} == {"task", "adam", "memory", "generator", "best"}
    assert {name.split(".")[1] for name in names if name.startswith("adam.")} == set(
        sifa().networks
    )
    state = TrainingState(path)
    state.remove()
    state.remove()
    assert not path.exists()
    assert state.load(made(Grey), {}).epoch == 0


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


@pytest.mark.slow
def test_a_cell_that_is_killed_goes_on_where_it_was(tmp_path):
    data, whole, killed = (tmp_path / name for name in ("store", "whole", "killed"))
    ingest("phantom", None, data, **SMOKE.phantom)
    assert start(data, whole).wait(timeout=200) == 0
    cell = Cell(ARM, 0)
    lines = RunFolder(killed).cell(cell).metrics
    process = start(data, killed)
    while not lines.exists() or len(lines.read_text().splitlines()) <= KILLED_AFTER:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not RunFolder(killed).cell(cell).is_finished
    num_done = epochs_of(RunFolder(killed).cell(cell).state)
    assert KILLED_AFTER <= num_done < 8
    assert start(data, killed).wait(timeout=200) == 0
    assert lines.read_text() == RunFolder(whole).cell(cell).metrics.read_text()
    weights = Path("checkpoint") / "weights.safetensors"
    assert same(*(load_file(RunFolder(out).cell(cell).path / weights) for out in (whole, killed)))
    cost = json.loads(RunFolder(killed).cell(cell).cost.read_text())
    assert cost["epochs"] == 8
    assert f"went on after {num_done} epochs of an earlier start" in cost["notes"]
    assert not list(tmp_path.rglob("*state.safetensors*"))


class Folded(Grey):
    """A task of two convolutions."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 2, 3))

    def forward(self, batch, network):
        return {"loss": self.net(batch["frames"]).square().mean()}


def test_one_kernel_for_all_parameters_goes_on_where_channels_lie_last(tmp_path):
    """As on a GPU: it refuses moments that lie in memory otherwise than their parameters."""
    path = tmp_path / "state.safetensors"

    def begun():
        task = made(Folded).to(memory_format=torch.channels_last)
        return task, {"net": Adam(task.net.parameters(), fused=True)}

    def stepped(task, adams):
        task.zero_grad()
        frames = torch.ones(2, 1, 8, 8).contiguous(memory_format=torch.channels_last)
        task({"frames": frames}, "net")["loss"].backward()
        adams["net"].step()
        return [parameter.detach().clone() for parameter in task.parameters()]

    task, adams = begun()
    stepped(task, adams)
    TrainingState(path, every_s=0).save(task, adams, resume.TrainingProgress(past=[PAST]))
    again, others = begun()
    assert TrainingState(path).load(again, others).past == [PAST]
    for mine, theirs in zip(stepped(task, adams), stepped(again, others), strict=True):
        assert torch.equal(mine, theirs)
