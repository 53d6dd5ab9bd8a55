"""The aggregators: the probabilities of a clip's frames become one score of the clip."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
from ray import serve

from lus_ray.inference import stages
from lus_ray.inference.model_selection import Model
from serve.deployment import Stage, held


@serve.deployment
class Aggregators(Stage):
    """Frame probabilities, (N, 4), become one answer per aggregator, for each clip."""

    def __init__(self, models: list[Model], reads: str, copies: Path | None = None) -> None:
        super().__init__(models, reads)
        self.stage = stages.Aggregators([held(model, copies) for model in models])

    async def predict(self, *probabilities: np.ndarray) -> list[list[Any]]:
        """Of each clip the answers in the order of the models."""
        return await asyncio.to_thread(lambda: [self.stage(one) for one in probabilities])
