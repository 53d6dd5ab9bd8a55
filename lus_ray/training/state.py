"""The state of an unfinished training, from which an interrupted one resumes.

One file, `state.safetensors`: tensors of the task, its buffers, every Adam, the best epoch and the
random generators; the rest is JSON metadata. Training starts over if it cannot be read.
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
"""By network of a task."""

KEY = "lus_ray.training"
EVERY_S = float(os.environ.get("LUS_STATE_SECONDS", "60"))
"""Seconds between two writes at least; more where writing would take over 2 % of the time.
LUS_STATE_SECONDS can lower it for machines that may be taken away at any moment."""
MIN_RATIO = 50
"""Seconds of training per second of writing."""


class EpochRecord(NamedTuple):
    """A complete epoch: its validation score, its worth to the recipe, and its problem, if any."""

    score: float
    worth: float
    problem: str


@dataclass
class BestEpoch:
    """The epoch to keep: its number, validation scores and parameters."""

    epoch: int
    scores: dict[str, float]
    parameters: dict[str, Tensor] = field(repr=False)


@dataclass
class TrainingProgress:
    """Complete epochs, the best one, and notes; `bad_steps` counts the last non-finite losses."""

    past: list[EpochRecord] = field(default_factory=list)
    best: BestEpoch | None = None
    notes: list[str] = field(default_factory=list)
    bad_steps: int = 0

    @property
    def epoch(self) -> int:
        """The next epoch."""
        return len(self.past)

    @property
    def problem_epochs(self) -> int:
        return sum(1 for _ in takewhile(lambda record: record.problem, reversed(self.past)))


class TrainingState:
    """The file of a training state; `every_s` replaces `EVERY_S`, and 0 writes every epoch."""

    def __init__(self, path: Path, *, every_s: float | None = None) -> None:
        self.path, self.every_s = path, EVERY_S if every_s is None else every_s
        self.written, self.write_s = time.monotonic(), 0.0

    def save(self, task: Task, optimizers: Optimizers, progress: TrainingProgress) -> None:
        """Write the state if it is due; a failure becomes a note of `progress`."""
        began = time.monotonic()
        if self.every_s and began - self.written < max(self.every_s, MIN_RATIO * self.write_s):
            return
        best = progress.best and {"epoch": progress.best.epoch, "scores": progress.best.scores}
        tensors = _gather(task, optimizers, progress.best)
        copies = {n: value.detach().cpu().contiguous().clone() for n, value in tensors.items()}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with write_atomically(self.path) as aside:
                save_file(copies, aside, {KEY: json.dumps({**vars(progress), "best": best})})
        except (OSError, SafetensorError) as error:
            note = f"{self.path.name} could not be written ({_one_line(error)}): training continued"
            progress.notes += [note] * (note not in progress.notes)
        self.written = time.monotonic()
        self.write_s = self.written - began

    def load(self, task: Task, optimizers: Optimizers) -> TrainingProgress:
        """Restore task, optimizers and random generators; the progress, empty without a state."""
        if not self.path.exists():
            return TrainingProgress()
        try:
            with safe_open(self.path, "pt") as file:
                saved = json.loads(file.metadata()[KEY])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            best = saved.pop("best")
            past = [EpochRecord(*record) for record in saved["past"]]
            progress = TrainingProgress(**{**saved, "past": past})
            if best is not None:
                progress.best = BestEpoch(**best, parameters=_select(tensors, "best"))
            _check(tensors, task, optimizers)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            note = f"{self.path.name} could not be read ({_one_line(error)}): training started over"
            return TrainingProgress(notes=[note])
        task.load_state_dict(_select(tensors, "task"))
        task.load_buffer_state(_select(tensors, "memory"))
        for network, optimizer in optimizers.items():
            state: dict[int, dict[str, Tensor]] = {}
            for name, value in _select(tensors, f"adam.{network}").items():
                number, _, key = name.partition(".")
                state.setdefault(int(number), {})[key] = value
            optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
            _match_layout(optimizer)
        rng = _select(tensors, "generator")
        torch.set_rng_state(rng["cpu"])
        if "cuda" in rng and torch.cuda.is_available():
            torch.cuda.set_rng_state(rng["cuda"])
        return progress

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


def _match_layout(optimizer: torch.optim.Optimizer) -> None:
    """Give moments the memory layout of their parameters: the fused kernel requires it."""
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if value.shape == parameter.shape:
                state[name] = torch.empty_like(parameter).copy_(value)


def _gather(task: Task, optimizers: Optimizers, best: BestEpoch | None) -> dict[str, Tensor]:
    groups = {  # the prefixes are those of the first version
        "task": task.state_dict(),
        "memory": task.buffer_state(),
        "generator": {"cpu": torch.get_rng_state()},
        "best": best.parameters if best else {},
    }
    if torch.cuda.is_available():
        groups["generator"]["cuda"] = torch.cuda.get_rng_state()
    for network, optimizer in optimizers.items():
        for number, values in optimizer.state_dict()["state"].items():
            groups[f"adam.{network}.{number}"] = values
    return {f"{group}.{n}": value for group, own in groups.items() for n, value in own.items()}


def _check(tensors: Mapping[str, Tensor], task: Task, optimizers: Optimizers) -> None:
    shapes = {name: value.shape for name, value in task.state_dict().items()}
    for group in ("task", "best"):
        saved = {name: value.shape for name, value in _select(tensors, group).items()}
        if saved != shapes and (saved or group == "task"):
            raise ValueError("of another task")
    for network, optimizer in optimizers.items():
        sizes = [p.shape for group in optimizer.param_groups for p in group["params"]]
        for name, value in _select(tensors, f"adam.{network}").items():
            number = int(name.partition(".")[0])
            if number >= len(sizes) or (value.ndim and value.shape != sizes[number]):
                raise ValueError("of another optimizer")
    if "generator.cpu" not in tensors:
        raise ValueError("without a random generator")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:100]


def _select(tensors: Mapping[str, Tensor], group: str) -> dict[str, Tensor]:
    start = f"{group}."
    return {n.removeprefix(start): v for n, v in tensors.items() if n.startswith(start)}
