"""The segmenter: a class for every pixel, and on request how sure it is of each class."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
from ray import serve

from lus_ray.inference import stages
from lus_ray.inference.model_selection import Model
from serve.deployment import Stage, held


@serve.deployment
class Segmenter(Stage):
    """Frames of a clip, (N, H, W) grey 0-255, become masks."""

    def __init__(self, model: Model, copies: Path | None = None) -> None:
        super().__init__([model])
        self.stage = stages.Outliner(held(model, copies), device=self.device())

    async def predict(self, frames: np.ndarray, uncertainty: bool) -> dict[str, Any]:
        """Masks of one clip, with the spread over samples where `uncertainty` is asked for."""
        num_samples = stages.NUM_SAMPLES if uncertainty else 0
        return await asyncio.to_thread(self.stage, frames, num_samples=num_samples)
