"""The experts of one label: small models that read nothing but the backbone's prediction."""

import asyncio
from pathlib import Path
from typing import Any

from ray import serve

from lus_ray.inference import stages
from lus_ray.inference.model_selection import Model
from lus_ray.predictor import Prediction
from serve.deployment import Stage, held


@serve.deployment
class Experts(Stage):
    """Predictions of a backbone become one answer per expert of the label, for each clip."""

    def __init__(self, models: list[Model], reads: str, copies: Path | None = None) -> None:
        super().__init__(models, reads)
        self.stage = stages.Experts([held(model, copies) for model in models])

    async def predict(self, *signs: Prediction) -> list[list[Any]]:
        """Of each clip the answers in the order of the models."""
        return await asyncio.to_thread(self.stage.many, signs)
