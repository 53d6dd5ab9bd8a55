"""One cell on several workers: the same loop inside Ray Train, each worker on its share of a batch.

Every worker validates, so that all of them follow the same schedule; the first one logs, writes
the state from which a killed cell goes on, and keeps the checkpoint. The trial that asked for the
workers predicts with it.
"""

import contextlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from ray.tune.integration.ray_train import TuneReportCallback

from lus_ray.clip import Row
from lus_ray.data.loading.transport import Transport, pixels_of
from lus_ray.errors import CellError
from lus_ray.orchestration.failures import WorkerLostError, is_loss
from lus_ray.runs import run_cell, sync
from lus_ray.runs.cell import Cell, Log, Work
from lus_ray.runs.cost import Meter, of_worker
from lus_ray.storage import paths
from lus_ray.storage.mirror import Home
from lus_ray.tasks.task import Task
from lus_ray.training import checkpoint, loop
from lus_ray.training.state import TrainingState


@dataclass(frozen=True)
class Ways:
    """How workers on machines of their own share the folder of a cell: the same, or by its home."""

    out: Path
    home: Home | None
    relative: str

    @property
    def folder(self) -> Path:
        """The cell's folder on this machine."""
        return (self.out if self.home is None else self.home.local) / self.relative

    def bring(self, *names: str) -> None:
        """Files of the folder, for the others."""
        if self.home is not None:
            self.home.push(*(f"{self.relative}/{name}" for name in names))

    def fetch(self, *names: str) -> None:
        """Files of the folder, from the others."""
        if self.home is not None:
            self.home.pull(*(f"{self.relative}/{name}" for name in names))

    @contextlib.contextmanager
    def room(self) -> Iterator[dict[str, Any]]:
        """Where Ray Train keeps what nothing here reads; thrown away afterwards."""
        own = self.out / self.relative if self.home is None else self.home.uri
        system, path = paths.open_filesystem(
            paths.join(own, *([self.relative] * bool(self.home)), "train")
        )
        try:
            yield {"storage_filesystem": system, "storage_path": path}
        finally:
            with contextlib.suppress(OSError):
                system.delete_dir(path)


def fit_with_workers(
    cell: Cell, work: Work, shared: Transport, store: str, *, gpus: float
) -> Callable[..., loop.FitResult]:
    """A stand-in for `fit_here` that trains with the workers of the arm's recipe.

    Raises:
        WorkerLostError: a worker or its machine is lost; run again to resume.
        CellError: a worker raised an error.
    """

    def fit(
        task: Task, train: Sequence[Row], val: Sequence[Row], *, arm: Any, seed: int, report: Any,
        second: Sequence[Row] = (), **settings: Any,
    ) -> loop.FitResult:  # fmt: skip
        ways = Ways(work.out.resolve(), work.home, sync.relative(cell))
        folder = ways.folder
        checkpoint.save(folder / "start", task, checkpoint.describe(arm.task), seed=seed)
        ways.bring("start")
        config = {
            "arm": arm, "train": list(train), "val": list(val), "seed": seed, "ways": ways,
            "shared": shared, "store": store, "second": list(second),
        }  # fmt: skip
        try:
            with ways.room() as room:
                TorchTrainer(
                    train_on_worker,
                    train_loop_config=config,
                    scaling_config=ScalingConfig(
                        num_workers=arm.recipe.workers,
                        use_gpu=gpus > 0,
                        resources_per_worker={"CPU": 1, **({"GPU": gpus} if gpus else {})},
                    ),
                    run_config=RunConfig(
                        name=cell.name.replace("/", "-"), callbacks=[TuneReportCallback()], **room
                    ),
                ).fit()
        except ray.train.TrainingFailedError as failure:
            if is_loss(failure):
                raise WorkerLostError(str(failure)) from failure
            raise CellError(f"{cell.name}: a worker failed: {_last_line(failure)}") from failure
        costs = [of_worker(rank) for rank in range(arm.recipe.workers)]
        ways.fetch("trained", "fitted.json", "metrics.jsonl", *costs)
        task.load_state_dict(checkpoint.load_weights(folder / "trained"))
        task.eval()
        kept = json.loads((folder / "fitted.json").read_text())
        return loop.FitResult(kept["epoch"], kept["scores"], tuple(kept["notes"]))

    return fit


def train_on_worker(config: dict[str, Any]) -> None:
    """What every worker does: `learn.fit` with the task wrapped for several processes."""
    context = ray.train.get_context()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    meter = Meter(device)
    rank, workers = context.get_world_rank(), context.get_world_size()
    arm, ways, seed = config["arm"], config["ways"], config["seed"]
    folder = ways.folder
    ways.fetch("start", "state.safetensors", *(["metrics.jsonl"] if rank == 0 else []))
    torch.manual_seed(seed)
    task = checkpoint.load(folder / "start")
    pixels = pixels_of(config["shared"], config["store"])

    def tell(values: dict[str, float]) -> None:
        ray.train.report({"finished": 0, **values})  # Tune asks every report for it

    home = ways.home if rank == 0 else None
    log = Log(folder, sync.live(home, ways.relative, tell), begins=False)

    def report(values: dict[str, float]) -> None:
        (log.epoch if rank == 0 else tell)(values)

    def prepare(task: Task) -> torch.nn.Module:
        more = {"find_unused_parameters": len(task.networks) > 1}
        return ray.train.torch.prepare_model(task, parallel_strategy_kwargs=more)

    state = TrainingState(folder / "state.safetensors", every_s=None if rank == 0 else math.inf)
    fitted = run_cell.fit_here(
        task, config["train"], config["val"], arm=arm, pixels=pixels, seed=seed, report=report,
        device=device, rank=rank, workers=workers, prepare=prepare, second=config["second"],
        state=state,
    )  # fmt: skip
    (folder / of_worker(rank)).write_text(json.dumps(meter.stop()))
    ways.bring(of_worker(rank))
    if rank == 0:
        checkpoint.save(folder / "trained", task, checkpoint.describe(arm.task), seed=seed)
        notes = (*log.went_on(), *fitted.notes)
        about = {"epoch": fitted.epoch, "scores": fitted.scores, "notes": notes}
        (folder / "fitted.json").write_text(json.dumps(about))
        ways.bring("trained", "metrics.jsonl", "fitted.json")


def _last_line(failure: Exception) -> str:
    return str(failure).strip().splitlines()[-1]
