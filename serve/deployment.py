"""What all deployments of models share.

Why a deployment stores its parity: an ingress that restarts asks the deployments and need not
replay clips again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import ray
import torch

from lus_ray.errors import ServeError
from lus_ray.inference.model_selection import hash_checkpoint
from lus_ray.inference.served_model import ServedModel
from serve.batching import JobThread


@dataclass(frozen=True)
class DeploymentInfo:
    """What a deployment holds.

    `reads` is the fingerprint of the model whose predictions it reads, None where it reads frames.
    `parity` holds differences from stored predictions by model id.
    """

    models: tuple[ServedModel, ...]
    reads: str | None
    parity: dict[str, float] = field(default_factory=dict)
    on_gpu: bool = False


class ModelDeployment:
    """Base of the deployments that hold models.

    `read` computes what reads predictions, not frames; colocated deployments share one.
    """

    def __init__(self, models: Sequence[ServedModel], reads: str | None = None) -> None:
        self.info = DeploymentInfo(tuple(models), reads)
        self.read = JobThread()

    async def get_info(self) -> DeploymentInfo:
        return self.info

    async def set_parity(self, parity: dict[str, float]) -> None:
        self.info = replace(self.info, parity=parity)

    def select_device(self) -> str:
        # Without a cluster, asking Ray for GPUs would start one.
        if not (ray.is_initialized() and ray.get_gpu_ids() and torch.cuda.is_available()):
            return "cpu"
        # The precision of the stored predictions: full where a CPU computed them.
        torch.backends.cudnn.allow_tf32 = self.info.models[0].on_gpu
        self.info = replace(self.info, on_gpu=True)
        return "cuda"


def verify(model: ServedModel, copies: Path | None) -> ServedModel:
    """The model with the folder to load its weights from: its copy, or its own folder.

    Raises:
        ServeError: the weights changed after they were selected.
    """
    local = model if copies is None else replace(model, folder=copies / model.fingerprint)
    if hash_checkpoint(local.folder) != model.fingerprint:
        raise ServeError(f"{model.id}: its checkpoint has changed; deploy it again")
    return local
