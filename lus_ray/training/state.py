"""The state of an unfinished training, from which an interrupted one resumes.

One file, `state.safetensors`: tensors of the task, its buffers, every Adam, the best epoch and the
random generators; the rest is JSON metadata. Training starts over if it cannot be read. Of several
workers the first writes it. What differs between them (running statistics, buffers, generators)
is in it for each, so that it is complete or absent. `state-epoch.safetensors` is the last one from
between two epochs, for another number of workers than that which stopped in the middle of one.
"""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, distributed

from lus_ray.errors import CellError
from lus_ray.storage.files import write_atomically
from lus_ray.tasks.task import Task
from lus_ray.training.progress import BestEpoch, EpochRecord, TrainingProgress, UnfinishedEpoch
from lus_ray.training.state_interval import read_state_interval

Optimizers = Mapping[str, torch.optim.Optimizer]
"""By network of a task."""

KEY = "lus_ray.training"
MIN_RATIO = 50
"""Seconds of training per second of writing."""
SYNC_STEPS = 16
"""Several workers agree whether to write after so many steps of an epoch, and after each epoch."""


class TrainingState:
    """The file of a training state; `every_s` replaces LUS_STATE_SECONDS.

    With several workers each of them calls `save` and `load` at the same step. `upload` is called
    after each write.
    """

    def __init__(
        self,
        path: Path,
        *,
        every_s: float | None = None,
        num_workers: int = 1,
        upload: Callable[[], None] = lambda: None,
    ) -> None:
        self.path = path
        self.every_s = read_state_interval() if every_s is None else every_s
        self.num_workers, self.upload = num_workers, upload
        self.rank = distributed.get_rank() if num_workers > 1 else 0
        self.between = path.with_stem(f"{path.stem}-epoch")
        self.written = self.written_between = time.monotonic()
        self.write_s, self.is_between = 0.0, False

    def save(self, task: Task, optimizers: Optimizers, progress: TrainingProgress) -> None:
        """Write the state if it is due; a failure becomes a note of `progress`."""
        began = time.monotonic()
        wait_s = max(self.every_s, MIN_RATIO * self.write_s) if self.every_s else 0.0
        last = self.written if progress.unfinished else self.written_between
        if not self._is_due(began - last >= wait_s, task, progress):
            return
        others = self._gather_from_workers(task, progress)
        if self.rank == 0:
            self._write(_gather(task, optimizers, progress) | others, progress)
            self.upload()
        self.written = time.monotonic()
        self.write_s = self.written - began
        if progress.unfinished is None:
            self.written_between = self.written

    def load(self, task: Task, optimizers: Optimizers) -> TrainingProgress:
        """Restore task, optimizers and random generators; the progress, empty without a state.

        Another number of workers than that which stopped in the middle of an epoch continues from
        before it, with a note.

        Raises:
            CellError: as above, and there is no state from before it.
        """
        path = self.path if self.path.exists() else self.between  # killed between two renames
        progress, tensors = self._read(path, task, optimizers)
        done = progress.unfinished
        self.is_between = path == self.path and bool(tensors) and done is None
        if done and done.num_workers != self.num_workers:
            stopped = f"{done.num_workers} workers stopped in the middle of epoch {progress.epoch}"
            progress, tensors = self._read(self.between, task, optimizers)
            progress.notes.append(
                f"{stopped}: {self.num_workers} went on from epoch {progress.epoch}"
            )
            if not tensors:
                raise CellError(
                    f"{self.path}: {stopped}; set arm.recipe.workers={done.num_workers}, or delete "
                    "it to train from the start"
                )
            done = None
        if not self._is_equal_for_all((progress.epoch, done and done.step)):
            note = f"{self.path.name} was not the same for every worker: training started over"
            return TrainingProgress(notes=[note])
        if not tensors:
            return progress
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

    def _is_due(self, is_due: bool, task: Task, progress: TrainingProgress) -> bool:
        """Whether to write; for several workers as the first one decides."""
        if self.num_workers == 1:
            return is_due
        if progress.unfinished and progress.unfinished.step % SYNC_STEPS:
            return False
        decision = torch.tensor(float(is_due), device=next(task.parameters()).device)
        distributed.broadcast(decision, 0)
        return bool(decision)

    def _gather_from_workers(self, task: Task, progress: TrainingProgress) -> dict[str, Tensor]:
        """At the first worker, what the others have of their own, by the number of a worker."""
        if self.num_workers == 1:
            return {}
        buffers = {name for name, _ in task.named_buffers()}
        groups = {
            "task": {name: v for name, v in task.state_dict().items() if name in buffers},
            "memory": task.buffer_state(),
            **_gather_of_process(progress),
        }
        own = {name: value.cpu() for name, value in _flatten(groups).items()}
        gathered: list[dict[str, Tensor]] = [{}] * self.num_workers if self.rank == 0 else []
        distributed.gather_object(own, gathered or None)
        return _flatten({f"worker{n}": group for n, group in enumerate(gathered) if n})

    def _is_equal_for_all(self, value: object) -> bool:
        if self.num_workers == 1:
            return True
        values: list[object] = [None] * self.num_workers
        distributed.all_gather_object(values, value)
        return all(other == value for other in values)

    def _write(self, tensors: Mapping[str, Tensor], progress: TrainingProgress) -> None:
        copies = {n: value.detach().cpu().contiguous().clone() for n, value in tensors.items()}
        best, done = progress.best, progress.unfinished
        info = {
            **vars(progress),
            "best": best and {"epoch": best.epoch, "scores": best.scores},
            "unfinished": done and self._describe(done),
        }
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with write_atomically(self.path) as aside:
                save_file(copies, aside, {KEY: json.dumps(info)})
                if done and self.is_between:
                    self.path.replace(self.between)
                self.is_between = not done
        except (OSError, SafetensorError) as error:
            note = f"{self.path.name} could not be written ({_one_line(error)}): training continued"
            progress.notes += [note] * (note not in progress.notes)

    def _describe(self, done: UnfinishedEpoch) -> dict[str, Any]:
        counts = {"step": done.step, "num_good": done.num_good, "num_workers": self.num_workers}
        return {**counts, "losses": list(done.sums)}

    def _read(
        self, path: Path, task: Task, optimizers: Optimizers
    ) -> tuple[TrainingProgress, dict[str, Tensor]]:
        """Progress and tensors of this worker; nothing, with a note, if the file does not fit."""
        if not path.exists():
            return TrainingProgress(), {}
        try:
            with safe_open(path, "pt") as file:
                info = json.loads(file.metadata()[KEY])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            tensors |= _select(tensors, f"worker{self.rank}")
            best, done = info.pop("best"), info.pop("unfinished", None)
            past = [EpochRecord(*record) for record in info["past"]]
            progress = TrainingProgress(**{**info, "past": past})
            if best is not None:
                progress.best = BestEpoch(**best, parameters=_select(tensors, "best"))
            if done is not None:
                sums = {name: tensors[f"sums.{name}"].item() for name in done.pop("losses")}
                before = _select(tensors, "before") or None
                progress.unfinished = UnfinishedEpoch(before, sums=sums, **done)
            _check(tensors, task, optimizers)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            note = f"{path.name} could not be read ({_one_line(error)}): training started over"
            return TrainingProgress(notes=[note]), {}
        return progress, tensors

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.between.unlink(missing_ok=True)


def _match_layout(optimizer: torch.optim.Optimizer) -> None:
    """Give moments the memory layout of their parameters: the fused kernel requires it."""
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if value.shape == parameter.shape:
                state[name] = torch.empty_like(parameter).copy_(value)


def _gather(task: Task, optimizers: Optimizers, progress: TrainingProgress) -> dict[str, Tensor]:
    best, done = progress.best, progress.unfinished
    groups = {  # the prefixes are those of the first version
        "task": task.state_dict(),
        "memory": task.buffer_state(),
        "best": best.parameters if best else {},
        "before": (done and done.before) or {},
        **_gather_of_process(progress),
    }
    for network, optimizer in optimizers.items():
        for number, values in optimizer.state_dict()["state"].items():
            groups[f"adam.{network}.{number}"] = values
    return _flatten(groups)


def _gather_of_process(progress: TrainingProgress) -> dict[str, dict[str, Tensor]]:
    """Random generators, and the sums of losses as tensors."""
    generators = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        generators["cuda"] = torch.cuda.get_rng_state()
    sums = progress.unfinished.sums if progress.unfinished else {}
    values = {name: torch.tensor(value, dtype=torch.float64) for name, value in sums.items()}
    return {"generator": generators, "sums": values}


def _flatten(groups: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {f"{group}.{n}": value for group, own in groups.items() for n, value in own.items()}


def _check(tensors: Mapping[str, Tensor], task: Task, optimizers: Optimizers) -> None:
    shapes = {name: value.shape for name, value in task.state_dict().items()}
    for group in ("task", "best", "before"):
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
