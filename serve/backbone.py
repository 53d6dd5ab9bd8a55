"""The backbone: biomarkers of clips, several clips in one forward pass.

Several ingresses ask at a time, each for a group: clips of all of them gather for the next pass.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from ray import serve

from lus_ray.inference import stages
from lus_ray.inference.model_selection import Model
from lus_ray.predictor import Prediction
from serve.batching import Together
from serve.deployment import Stage, held

MAX_BATCH_SIZE = 8


@serve.deployment
class Backbone(Stage):
    """Frames of clips, (N, H, W) grey 0-255, become the predictions that experts read."""

    def __init__(self, model: Model, copies: Path | None = None) -> None:
        super().__init__([model])
        self.stage = stages.Backbone(held(model, copies), device=self.device())
        self.thread = ThreadPoolExecutor(1)  # one pass after the other
        self.together = Together(self._pass, most=MAX_BATCH_SIZE)

    def reconfigure(self, config: dict[str, Any]) -> None:
        """`max_batch_size` clips at most in one pass."""
        self.together.most = config.get("max_batch_size", MAX_BATCH_SIZE)

    async def predict(self, *clips: np.ndarray) -> list[Prediction]:
        """One prediction for each clip."""
        return await asyncio.gather(*map(self.together, clips))

    async def _pass(self, clips: list[np.ndarray]) -> list[Prediction]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.thread, self.stage.many, clips)
