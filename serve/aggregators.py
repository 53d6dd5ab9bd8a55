"""The aggregators: one score per clip from the probabilities of its frames."""

from pathlib import Path

import numpy as np
from ray import serve

from lus_ray.inference.schema import ClipScore
from lus_ray.inference.served_model import ServedModel
from lus_ray.inference.stages import AggregatorsStage
from serve.deployment import ModelDeployment, verify


@serve.deployment
class Aggregators(ModelDeployment):
    """Frame probabilities (N, 4) to one score per aggregator."""

    def __init__(self, models: list[ServedModel], reads: str, copies: Path | None = None) -> None:
        super().__init__(models, reads)
        self.stage = AggregatorsStage([verify(model, copies) for model in models])

    async def predict(self, *probabilities: np.ndarray) -> list[list[ClipScore]]:
        return await self.read(lambda: [self.stage(clip) for clip in probabilities])
