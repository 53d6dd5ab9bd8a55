"""One cell on several workers: the training loop inside Ray Train, on a share of each batch.

Every worker validates, so that all follow the same schedule. The first one logs, saves the state of
all from which a killed cell resumes, and keeps the checkpoint. The trial that asked for the workers
predicts with it.
"""

import contextlib
import json
from collections.abc import Callable, Sequence
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
from lus_ray.runs import run_cell
from lus_ray.runs.cell import Cell
from lus_ray.runs.cell_log import CellLog
from lus_ray.runs.cost import CostMeter
from lus_ray.runs.layout import FITTED, METRICS, START, STATE, TRAINED, CellFolder
from lus_ray.runs.plan import RunPlan
from lus_ray.storage import paths
from lus_ray.tasks.task import Task
from lus_ray.training import checkpoint, loop
from lus_ray.training.state import TrainingState


def fit_with_workers(
    cell: Cell, plan: RunPlan, shared: Transport, *, gpus: float
) -> Callable[..., loop.FitResult]:
    """A stand-in for `fit_task` that trains with the workers of the arm's recipe.

    It raises WorkerLostError if a worker or its machine is lost, CellError if a worker failed.
    """

    def fit(
        task: Task, train: Sequence[Row], val: Sequence[Row], *, arm: Any, seed: int, report: Any,
        second: Sequence[Row] = (), trained: Any = None, **settings: Any,
    ) -> loop.FitResult:  # fmt: skip
        folder = plan.folder_of(cell)
        checkpoint.save(folder.path / START, task, checkpoint.describe(arm.task), seed=seed)
        folder.upload(START)
        config = {
            "file": plan.experiment.file,  # first: reading it imports the classes of the arm
            "arm": arm, "train": list(train), "val": list(val), "seed": seed, "folder": folder,
            "shared": shared, "store": str(plan.data), "second": list(second),
            "trained": trained,
        }  # fmt: skip
        own_files, path = paths.open_filesystem(folder.ray_train_storage)
        try:
            TorchTrainer(
                train_on_worker,
                train_loop_config=config,
                scaling_config=ScalingConfig(
                    num_workers=arm.recipe.workers,
                    use_gpu=gpus > 0,
                    resources_per_worker={"CPU": 1, **({"GPU": gpus} if gpus else {})},
                ),
                run_config=RunConfig(
                    name=cell.name.replace("/", "-"),
                    callbacks=[TuneReportCallback()],
                    storage_filesystem=own_files,
                    storage_path=path,
                ),
            ).fit()
        except ray.train.TrainingFailedError as failure:
            if is_loss(failure):
                raise WorkerLostError(str(failure)) from failure
            last_line = str(failure).strip().splitlines()[-1]
            raise CellError(f"{cell.name}: a worker failed: {last_line}") from failure
        finally:
            with contextlib.suppress(OSError):
                own_files.delete_dir(path)
        costs = [folder.worker_cost(rank) for rank in range(arm.recipe.workers)]
        folder.download(TRAINED, FITTED, METRICS, *costs)
        task.load_state_dict(checkpoint.load_weights(folder.path / TRAINED))
        task.eval()
        fitted = json.loads((folder.path / FITTED).read_text())
        return loop.FitResult(fitted["epoch"], fitted["scores"], tuple(fitted["notes"]))

    return fit


def train_on_worker(config: dict[str, Any]) -> None:
    """Train the task, wrapped for several processes, on one worker's share of each batch."""
    context = ray.train.get_context()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    meter = CostMeter(device)
    rank, workers = context.get_world_rank(), context.get_world_size()
    arm, seed = config["arm"], config["seed"]
    folder: CellFolder = config["folder"]
    folder.download(START, STATE, *([METRICS] if rank == 0 else []))
    torch.manual_seed(seed)
    task = checkpoint.load(folder.path / START)
    pixels = pixels_of(config["shared"], config["store"])

    def report_to_train(values: dict[str, float]) -> None:
        ray.train.report({"finished": 0, **values})  # Tune needs it in every report

    log = CellLog(folder, folder.upload_while_running(report_to_train), is_start=False)
    report = log.log_epoch if rank == 0 else report_to_train

    def prepare(task: Task) -> torch.nn.Module:
        more = {"find_unused_parameters": len(task.networks) > 1}
        return ray.train.torch.prepare_model(task, parallel_strategy_kwargs=more)

    state = TrainingState(folder.state, num_workers=workers, upload=folder.live_upload())
    fitted = run_cell.fit_task(
        task, config["train"], config["val"], arm=arm, pixels=pixels, seed=seed, report=report,
        device=device, rank=rank, workers=workers, prepare=prepare, second=config["second"],
        trained=config["trained"], state=state,
    )  # fmt: skip
    (folder.path / folder.worker_cost(rank)).write_text(json.dumps(meter.stop()))
    folder.upload(folder.worker_cost(rank))
    if rank == 0:
        checkpoint.save(folder.path / TRAINED, task, checkpoint.describe(arm.task), seed=seed)
        notes = (*log.resume_notes(), *fitted.notes)
        about = {"epoch": fitted.epoch, "scores": fitted.scores, "notes": notes}
        (folder.path / FITTED).write_text(json.dumps(about))
        folder.upload(TRAINED, METRICS, FITTED)
