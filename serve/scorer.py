"""The frame scorer: probabilities of the four severities for every frame, and where it looked."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
from ray import serve

from lus_ray.inference import stages
from lus_ray.inference.model_selection import Model
from serve.deployment import Stage, held


@serve.deployment
class Scorer(Stage):
    """Frames of a clip, (N, H, W) grey 0-255, become probabilities (N, 4) and boxes."""

    def __init__(self, model: Model, copies: Path | None = None) -> None:
        super().__init__([model])
        self.stage = stages.Scorer(held(model, copies), device=self.device())

    async def predict(self, frames: np.ndarray) -> Any:
        """Probabilities and boxes of one clip's frames."""
        return await asyncio.to_thread(self.stage, frames)
