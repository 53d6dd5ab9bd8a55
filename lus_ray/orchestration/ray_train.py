"""One cell on workers of its own: the training loop inside Ray Train, on a share of each batch.

Every worker validates, so that all follow the same schedule. The first one logs, saves the state of
all from which a killed cell resumes, and keeps the checkpoint. Then as many tasks predict the
clips, with the same share of a GPU each. The trial that asked for all this needs no CPU.
"""

import contextlib
import json
from collections.abc import Sequence
from typing import Any

import ray.train
import ray.train.torch
import torch
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from ray.tune.integration.ray_train import TuneReportCallback
from torch import nn

from lus_ray.clip import Row
from lus_ray.data.loading.transport import Transport, pixels_of
from lus_ray.errors import CellError
from lus_ray.orchestration.cells import process
from lus_ray.orchestration.failures import WorkerLostError, is_loss
from lus_ray.orchestration.planner import CellResources
from lus_ray.predictor import Prediction
from lus_ray.runs import cell_predictions, run_cell
from lus_ray.runs.cell import Cell
from lus_ray.runs.cell_log import CellLog
from lus_ray.runs.cost import CostMeter
from lus_ray.runs.layout import (
    EPOCH_STATE,
    FITTED,
    METRICS,
    START,
    STATE,
    TRAINED,
    CellFolder,
    slug,
)
from lus_ray.runs.plan import RunPlan
from lus_ray.storage import paths
from lus_ray.study_files import StudyFile
from lus_ray.tasks.task import Task
from lus_ray.training import checkpoint, loop
from lus_ray.training.state import TrainingState


class RayTraining:
    """Stands in for `fit_task` and `predict_clips` in the trial of a cell.

    Both raise WorkerLostError if a worker or its machine is lost, CellError if a worker failed.
    """

    def __init__(
        self, cell: Cell, plan: RunPlan, shared: Transport, resources: CellResources
    ) -> None:
        self.cell, self.plan, self.shared, self.resources = cell, plan, shared, resources
        self.folder = plan.folder_of(cell)
        self.num_costs = 0
        for path in self.folder.worker_costs():  # of an earlier start
            path.unlink()

    def fit(
        self, task: Task, train: Sequence[Row], val: Sequence[Row], *, arm: Any, seed: int,
        report: Any, second: Sequence[Row] = (), trained: Any = None, **settings: Any,
    ) -> loop.FitResult:  # fmt: skip
        folder, wanted = self.folder, self.resources
        checkpoint.save(folder.path / START, task, checkpoint.describe(arm.task), seed=seed)
        folder.upload(START)
        config = {
            "file": self.plan.experiment.file,  # first: reading it imports the classes of the arm
            "arm": arm, "train": list(train), "val": list(val), "seed": seed, "folder": folder,
            "shared": self.shared, "store": str(self.plan.data), "second": list(second),
            "trained": trained, "first_cost": self.num_costs,
        }  # fmt: skip
        own_files, path = paths.open_filesystem(folder.ray_train_storage)
        gpus = wanted.gpus_per_worker
        uses_nccl = wanted.workers > 1 and gpus >= 1  # it refuses two workers on one GPU
        try:
            TorchTrainer(
                train_on_worker,
                train_loop_config=config,
                torch_config=TorchConfig(backend="nccl" if uses_nccl else "gloo"),
                scaling_config=ScalingConfig(
                    num_workers=wanted.workers,
                    use_gpu=gpus > 0,
                    resources_per_worker={"CPU": 1, **({"GPU": gpus} if gpus else {})},
                    placement_strategy="STRICT_PACK" if wanted.on_one_node else "PACK",
                ),
                run_config=RunConfig(
                    name=slug(self.cell.name),  # Ray Train takes ASCII alone
                    callbacks=[TuneReportCallback()],
                    storage_filesystem=own_files,
                    storage_path=path,
                ),
            ).fit()
        except ray.train.TrainingFailedError as failure:
            raise self._describe(failure, is_lost=is_loss(failure)) from failure
        finally:
            with contextlib.suppress(OSError):
                own_files.delete_dir(path)
        costs = [folder.worker_cost(self.num_costs + rank) for rank in range(wanted.workers)]
        self.num_costs += wanted.workers
        folder.download(TRAINED, FITTED, METRICS, *costs)
        task.load_state_dict(checkpoint.load_weights(folder.path / TRAINED))
        task.eval()
        fitted = json.loads((folder.path / FITTED).read_text())
        return loop.FitResult(fitted["epoch"], fitted["scores"], tuple(fitted["notes"]))

    def predict(self, task: Task, rows: Sequence[Row]) -> list[Prediction]:
        """Predict on as many processes as trained, every one a part of the clips."""
        wanted = self.resources
        predict = ray.remote(
            num_cpus=1, num_gpus=wanted.gpus_per_worker, max_retries=0,
            scheduling_strategy="DEFAULT",  # not inside what the trial reserved, which is nothing
        )(predict_on_worker)  # fmt: skip
        number = max(1, min(wanted.workers, len(rows)))
        experiment, settings = self.plan.experiment, dict(self.cell.settings)
        arm = run_cell.apply_settings(experiment.arm(self.cell.arm), settings)
        about = (experiment.file, arm, self.shared, str(self.plan.data))
        weights = ray.put(task.state_dict())
        parts = [predict.remote(*about, weights, rows[n::number]) for n in range(number)]
        try:
            results = ray.get(parts)
        except ray.exceptions.RayError as failure:
            is_lost = not isinstance(failure, ray.exceptions.RayTaskError)
            raise self._describe(failure, is_lost=is_lost) from failure
        finally:
            for part in parts:
                ray.cancel(part, force=True)
        outputs: list[Prediction] = [{}] * len(rows)
        for first, (predicted, cost) in enumerate(results):
            outputs[first::number] = predicted
            name = self.folder.worker_cost(self.num_costs)
            (self.folder.path / name).write_text(json.dumps(cost))
            self.num_costs += 1
        return outputs

    def _describe(self, failure: Exception, *, is_lost: bool) -> Exception:
        if is_lost:
            return WorkerLostError(str(failure))
        last_line = str(failure).strip().splitlines()[-1]
        return CellError(f"{self.cell.name}: a worker failed: {last_line}")


def train_on_worker(config: dict[str, Any]) -> None:
    """Train the task, wrapped for several processes, on one worker's share of each batch."""
    context = ray.train.get_context()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device != "cpu":  # workers of a node see all of its GPUs
        torch.cuda.set_device(ray.train.torch.get_device())
    process.keep_freed_memory()
    meter = CostMeter(device)
    rank, workers = context.get_world_rank(), context.get_world_size()
    arm, seed = config["arm"], config["seed"]
    folder: CellFolder = config["folder"]
    folder.download(START, STATE, EPOCH_STATE, *([METRICS] if rank == 0 else []))
    torch.manual_seed(seed)
    task = checkpoint.load(folder.path / START)
    pixels = pixels_of(config["shared"], config["store"])

    def report_to_train(values: dict[str, float]) -> None:
        ray.train.report({"finished": 0, **values})  # Tune needs it in every report

    # Inner models of a cross-fitted arm are trained one after another.
    uploads = folder.upload_while_running(report_to_train)
    log = CellLog(folder, uploads, is_start=False, appends=config["first_cost"] > 0)
    report = log.log_epoch if rank == 0 else report_to_train
    state = TrainingState(folder.state, num_workers=workers, upload=folder.live_upload())
    fitted = run_cell.fit_task(
        task, config["train"], config["val"], arm=arm, pixels=pixels, seed=seed, report=report,
        device=device, rank=rank, workers=workers, second=config["second"],
        prepare=wrap if workers > 1 else None, trained=config["trained"],
        state=None if arm.crossfit else state,
    )  # fmt: skip
    cost = folder.worker_cost(config["first_cost"] + rank)
    (folder.path / cost).write_text(json.dumps(meter.stop()))
    folder.upload(cost)
    if rank == 0:
        checkpoint.save(folder.path / TRAINED, task, checkpoint.describe(arm.task), seed=seed)
        notes = (*log.resume_notes(), *fitted.notes)
        about = {"epoch": fitted.epoch, "scores": fitted.scores, "notes": notes}
        (folder.path / FITTED).write_text(json.dumps(about))
        folder.upload(TRAINED, METRICS, FITTED)


def wrap(task: Task) -> nn.Module:
    """The task as one of several workers; on GPUs its batch norms see the whole batch."""
    synchronise_norms(task)
    more = {"find_unused_parameters": len(task.networks) > 1}
    return ray.train.torch.prepare_model(task, parallel_strategy_kwargs=more)


def synchronise_norms(task: Task) -> None:
    """Replace batch norms in place where they are on a GPU: torch has none for CPUs."""
    if next(task.parameters()).is_cuda:
        nn.SyncBatchNorm.convert_sync_batchnorm(task)


def predict_on_worker(
    file: StudyFile | None, arm: Any, shared: Transport, store: str,
    weights: dict[str, torch.Tensor], rows: Sequence[Row],
) -> tuple[list[Prediction], dict[str, Any]]:  # fmt: skip
    """The predictions of some clips, and their cost; `file` imports the classes of the arm."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    meter = CostMeter(device)
    task = checkpoint.build(checkpoint.describe(arm.task))
    task.load_state_dict(weights)
    task.eval().to(device)
    pixels = pixels_of(shared, store)
    return list(cell_predictions.predict_clips(task, rows, pixels, device)), meter.stop()
