"""What every deployment of models says of itself, beside its own work.

Why a stage keeps the outcome of its parity gate: an ingress that starts anew asks the stages and
need not replay clips that were replayed before.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import ray
import torch

from lus_ray.errors import ServeError
from lus_ray.inference.model_selection import Model, fingerprint


@dataclass(frozen=True)
class About:
    """Models of a stage, the fingerprint of what they read, their parity where it is known.

    `on_gpu` says that a GPU computes its answers.
    """

    models: tuple[Model, ...]
    reads: str | None
    parity: dict[str, float] = field(default_factory=dict)
    on_gpu: bool = False


class Stage:
    """Base of the deployments that hold models.

    `reads` is the fingerprint of the model whose answers this stage reads, None for one that reads
    frames: two stages fit together only where these agree.
    """

    def __init__(self, models: Sequence[Model], reads: str | None = None) -> None:
        self.told = About(tuple(models), reads)

    async def about(self) -> About:
        """What it holds."""
        return self.told

    async def admit(self, parity: dict[str, float]) -> None:
        """Remember how far replayed predictions are from the stored ones, by model id."""
        self.told = replace(self.told, parity=parity)

    def device(self) -> str:
        """ "cuda" where this replica was given a GPU, or a share of one.

        There the network keeps as many bits as when its predictions were stored: all of them where
        a CPU computed those.
        """
        if not (ray.get_gpu_ids() and torch.cuda.is_available()):
            return "cpu"
        torch.backends.cudnn.allow_tf32 = self.told.models[0].on_gpu
        self.told = replace(self.told, on_gpu=True)
        return "cuda"


def held(model: Model, copies: Path | None) -> Model:
    """The model with the folder that its weights are loaded from: a copy, where there is one.

    Raises:
        ServeError: the weights are not those that were looked at; a run wrote them anew.
    """
    here = model if copies is None else replace(model, folder=copies / model.fingerprint)
    if fingerprint(here.folder) != model.fingerprint:
        raise ServeError(f"{model.id}: its checkpoint has changed; deploy it again")
    return here
