"""The backbone: biomarkers of clips, several clips in one forward pass.

Why no waiting for a batch: while one batch is computed the next requests gather, so that a lone
request is answered at once and a crowd is answered together.
"""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
from ray import serve

from lus_ray.predictor import Prediction
from lus_ray.service import stages
from lus_ray.service.models import Model
from serve.stage import Stage, held


@serve.deployment
class Backbone(Stage):
    """Frames of a clip, (N, H, W) grey 0-255, become the prediction that experts read."""

    def __init__(self, model: Model, copies: Path | None = None) -> None:
        super().__init__([model])
        self.stage = stages.Backbone(held(model, copies))

    def reconfigure(self, config: dict[str, Any]) -> None:
        """`max_batch_size` clips at most in one pass, after `wait_seconds` for more of them."""
        self.predict.set_max_batch_size(config.get("max_batch_size", 8))
        self.predict.set_batch_wait_timeout_s(config.get("wait_seconds", 0.0))

    @serve.batch(max_batch_size=8, batch_wait_timeout_s=0.0)
    async def predict(self, frames: list[np.ndarray]) -> list[Prediction]:
        """One prediction for each clip that is waiting."""
        return await asyncio.to_thread(self.stage.many, frames)
