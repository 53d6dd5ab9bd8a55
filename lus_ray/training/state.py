"""The state of a training that is not finished, so that a killed one goes on where it was.

One file, `state.safetensors`, renamed into place: tensors of the task, of every Adam, of the kept
epoch, of the random generators and of what the task remembers; numbers and texts as JSON in its
metadata. A file that cannot be read is as good as none: training begins again.
"""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lus_ray.storage.files import write_atomically
from lus_ray.tasks.task import Task

Optimizers = Mapping[str, torch.optim.Optimizer]
"""Of each network of a task."""

KEY = "lus_ray.training"
EVERY_S = float(os.environ.get("LUS_STATE_SECONDS", "60"))
"""A state is written at most this often, and more seldom where writing takes over 2 % of time.

Where machines may be taken away at any moment, the environment can make it smaller."""
SHARE = 50


class EpochRecord(NamedTuple):
    """A whole epoch: its validation score, what it is worth to the recipe, and trouble, if any."""

    score: float
    worth: float
    trouble: str


@dataclass
class BestEpoch:
    """The kept epoch: its number, its validation scores and its parameters."""

    epoch: int
    scores: dict[str, float]
    parameters: dict[str, Tensor] = field(repr=False)


@dataclass
class TrainingProgress:
    """What training came to so far: whole epochs, the kept one, and notes of trouble.

    `bad_steps` counts the last steps that had no finite loss.
    """

    past: list[EpochRecord] = field(default_factory=list)
    best: BestEpoch | None = None
    notes: list[str] = field(default_factory=list)
    bad_steps: int = 0

    @property
    def epoch(self) -> int:
        """The epoch that comes next."""
        return len(self.past)

    @property
    def troubled(self) -> int:
        """How many of the last epochs in a row had trouble."""
        return sum(1 for _ in takewhile(lambda past: past.trouble, reversed(self.past)))


class TrainingState:
    """Where the state of a training lies, and when it was last written.

    `every_s` stands in for `EVERY_S`; with 0 it is written after every epoch.
    """

    def __init__(self, path: Path, *, every_s: float | None = None) -> None:
        self.path, self.every_s = path, EVERY_S if every_s is None else every_s
        self.written, self.took = time.monotonic(), 0.0

    def save(self, task: Task, optimizers: Optimizers, done: TrainingProgress) -> None:
        """Write the state where it is time to; where that fails, `done` has a note of it."""
        began = time.monotonic()
        if self.every_s and began - self.written < max(self.every_s, SHARE * self.took):
            return
        kept = done.best and {
            name: value for name, value in vars(done.best).items() if name != "parameters"
        }
        about = {**{k: v for k, v in vars(done).items() if k != "best"}, "best": kept}
        tensors = _gathered(task, optimizers, done.best)
        plain = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with write_atomically(self.path) as aside:
                save_file(plain, aside, {KEY: json.dumps(about)})
        except (OSError, SafetensorError) as error:
            note = f"{self.path.name} could not be written ({_line(error)}): training went on"
            done.notes += [note] * (note not in done.notes)
        self.written = time.monotonic()
        self.took = self.written - began

    def load(self, task: Task, optimizers: Optimizers) -> TrainingProgress:
        """Put task, optimizers and random generators back; what was done, or nothing yet."""
        if not self.path.exists():
            return TrainingProgress()
        try:
            with safe_open(self.path, "pt") as file:
                about = json.loads(file.metadata()[KEY])
                found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            best = about.pop("best")
            done = TrainingProgress(
                **{**about, "past": [EpochRecord(*past) for past in about["past"]]}
            )
            if best is not None:
                done.best = BestEpoch(**best, parameters=_below(found, "best"))
            _check(found, task, optimizers)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            return TrainingProgress(
                notes=[f"{self.path.name} was not readable ({_line(error)}): began again"]
            )
        task.load_state_dict(_below(found, "task"))
        task.load_buffer_state(_below(found, "memory"))
        for network, optimizer in optimizers.items():
            state: dict[int, dict[str, Tensor]] = {}
            for name, value in _below(found, f"adam.{network}").items():
                number, _, key = name.partition(".")
                state.setdefault(int(number), {})[key] = value
            optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
            _lay_out(optimizer)
        _put_back(_below(found, "generator"))
        return done

    def remove(self) -> None:
        """A finished training needs none."""
        self.path.unlink(missing_ok=True)


def _lay_out(optimizer: torch.optim.Optimizer) -> None:
    """Moments as the parameters lie in memory: one kernel for all of them refuses anything else."""
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if value.shape == parameter.shape:
                state[name] = torch.empty_like(parameter).copy_(value)


def _gathered(task: Task, optimizers: Optimizers, best: BestEpoch | None) -> dict[str, Tensor]:
    """Every tensor of a state, its name beginning with what it is of."""
    tensors = {f"task.{name}": value for name, value in task.state_dict().items()}
    tensors |= {f"memory.{name}": value for name, value in task.buffer_state().items()}
    tensors |= {f"generator.{name}": value for name, value in _generators().items()}
    for network, optimizer in optimizers.items():
        for number, values in optimizer.state_dict()["state"].items():
            tensors |= {f"adam.{network}.{number}.{k}": v for k, v in values.items()}
    if best is not None:
        tensors |= {f"best.{name}": value for name, value in best.parameters.items()}
    return tensors


def _check(found: Mapping[str, Tensor], task: Task, optimizers: Optimizers) -> None:
    """Refuse the state of another task, before any of it is put anywhere."""
    own = {name: value.shape for name, value in task.state_dict().items()}
    for room in ("task", "best"):
        given = {name: value.shape for name, value in _below(found, room).items()}
        if given != own and (given or room == "task"):
            raise ValueError("of another task")
    for network, optimizer in optimizers.items():
        sizes = [p.shape for group in optimizer.param_groups for p in group["params"]]
        for name, value in _below(found, f"adam.{network}").items():
            number = int(name.partition(".")[0])
            if number >= len(sizes) or (value.ndim and value.shape != sizes[number]):
                raise ValueError("of another optimizer")
    if "generator.cpu" not in found:
        raise ValueError("without a random generator")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:100]


def _below(tensors: Mapping[str, Tensor], room: str) -> dict[str, Tensor]:
    start = f"{room}."
    return {n.removeprefix(start): v for n, v in tensors.items() if n.startswith(start)}


def _generators() -> dict[str, Tensor]:
    found = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        found["cuda"] = torch.cuda.get_rng_state()
    return found


def _put_back(generators: Mapping[str, Tensor]) -> None:
    torch.set_rng_state(generators["cpu"])
    if "cuda" in generators and torch.cuda.is_available():
        torch.cuda.set_rng_state(generators["cuda"])
