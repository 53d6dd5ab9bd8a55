"""One cell on several workers: the same loop inside Ray Train, each worker on its share of a batch.

Every worker validates, so that all of them follow the same schedule; the first one logs and keeps
the checkpoint, and the trial that asked for the workers predicts with it.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from lus_ray import checkpoint, learn
from lus_ray.clip import Row
from lus_ray.engine import running
from lus_ray.engine.cell import Cell, Work
from lus_ray.engine.cost import Meter
from lus_ray.engine.frames import Shared, attach
from lus_ray.errors import CellError
from lus_ray.stream import Streamed
from lus_ray.tasks.task import Task


def fit_with_workers(
    cell: Cell, work: Work, shared: Shared | None, store: str, *, gpus: float
) -> Callable[..., learn.Fitted]:
    """A stand-in for `fit_here` that trains with the workers of the arm's recipe."""

    def fit(
        task: Task, train: Sequence[Row], val: Sequence[Row], *, arm: Any, seed: int, report: Any,
        second: Sequence[Row] = (), **settings: Any,
    ) -> learn.Fitted:  # fmt: skip
        folder = cell.folder(work.out).resolve()
        start = folder / "start"
        description = checkpoint.describe(arm.task)
        checkpoint.save(start, task, description, seed=seed)
        config = {
            "arm": arm, "train": list(train), "val": list(val), "seed": seed,
            "folder": str(folder), "shared": shared, "store": store, "second": list(second),
        }  # fmt: skip
        result = TorchTrainer(
            train_on_worker,
            train_loop_config=config,
            scaling_config=ScalingConfig(
                num_workers=arm.recipe.workers,
                use_gpu=gpus > 0,
                resources_per_worker={"CPU": 1, **({"GPU": gpus} if gpus else {})},
            ),
            run_config=RunConfig(
                name=cell.name.replace("/", "-"), storage_path=str(folder / "train")
            ),
        ).fit()
        if result.error is not None:
            raise CellError(f"{cell.name}: a worker failed: {result.error}")
        for line in (folder / "worker.jsonl").read_text().splitlines():
            report(json.loads(line))
        task.load_state_dict(checkpoint.load_weights(folder / "trained"))
        task.eval()
        kept = json.loads((folder / "fitted.json").read_text())
        spent = [json.loads(path.read_text()) for path in sorted(folder.glob("cost-*.json"))]
        cpu_s = sum(cost["cpu_s"] for cost in spent)
        notes = (*kept["notes"], f"{len(spent)} workers took {cpu_s:.1f} CPU seconds more")
        return learn.Fitted(kept["epoch"], kept["scores"], notes)

    return fit


def train_on_worker(config: dict[str, Any]) -> None:
    """What every worker does: `learn.fit` with the task wrapped for several processes."""
    context = ray.train.get_context()
    meter = Meter("cpu")
    rank, workers = context.get_world_rank(), context.get_world_size()
    arm, folder, seed = config["arm"], Path(config["folder"]), config["seed"]
    torch.manual_seed(seed)
    task = checkpoint.load(folder / "start")
    shared = config["shared"]
    pixels = Streamed(config["store"]) if shared is None else attach(shared)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    log = folder / "worker.jsonl"
    if rank == 0:
        log.write_text("")

    def report(values: dict[str, float]) -> None:
        if rank == 0:
            with log.open("a") as file:
                file.write(json.dumps(values) + "\n")
        ray.train.report(values)

    def prepare(task: Task) -> torch.nn.Module:
        more = {"find_unused_parameters": len(task.players) > 1}
        return ray.train.torch.prepare_model(task, parallel_strategy_kwargs=more)

    fitted = running.fit_here(
        task, config["train"], config["val"], arm=arm, pixels=pixels, seed=seed, report=report,
        device=device, rank=rank, workers=workers, prepare=prepare, second=config["second"],
    )  # fmt: skip
    (folder / f"cost-{rank}.json").write_text(json.dumps(meter.stop()))
    if rank == 0:
        checkpoint.save(folder / "trained", task, checkpoint.describe(arm.task), seed=seed)
        about = {"epoch": fitted.epoch, "scores": fitted.scores, "notes": fitted.notes}
        (folder / "fitted.json").write_text(json.dumps(about))
