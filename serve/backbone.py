"""The backbone: biomarkers of clips, several clips per forward pass.

Every ingress sends groups of clips; clips of all groups gather for the next pass.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from ray import serve

from lus_ray.inference.schema import AttentionSheet
from lus_ray.inference.served_model import ServedModel
from lus_ray.inference.stages import BackboneStage
from lus_ray.predictor import Prediction
from serve.batching import Batcher
from serve.deployment import ModelDeployment, verify

MAX_BATCH_SIZE = 8


@serve.deployment
class Backbone(ModelDeployment):
    """Frames of clips (N, H, W), grey 0-255, to the predictions that experts read."""

    def __init__(self, model: ServedModel, copies: Path | None = None) -> None:
        super().__init__([model])
        self.stage = BackboneStage(verify(model, copies), device=self.select_device())
        self.thread = ThreadPoolExecutor(1)  # one pass after the other
        self.batcher = Batcher(self._predict_batch, limit=MAX_BATCH_SIZE)

    def reconfigure(self, config: dict[str, Any]) -> None:
        """Set `max_batch_size`, the limit of clips per pass."""
        self.batcher.limit = config.get("max_batch_size", MAX_BATCH_SIZE)

    async def predict(self, *clips: np.ndarray) -> list[Prediction]:
        return await self.batcher.for_all(clips)

    async def attend(
        self, frames: np.ndarray, biomarkers: Prediction, severity: list[float] | None
    ) -> AttentionSheet | None:
        loop, attend = asyncio.get_running_loop(), self.stage.attend
        return await loop.run_in_executor(self.thread, attend, frames, biomarkers, severity)

    async def _predict_batch(self, clips: list[np.ndarray]) -> list[Prediction]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.thread, self.stage.predict_batch, clips)
