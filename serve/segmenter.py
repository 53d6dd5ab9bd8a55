"""The segmenter: a class for every pixel and, on request, the uncertainty of each class."""

import asyncio
from pathlib import Path

import numpy as np
from ray import serve

from lus_ray.inference.schema import MaskSheet
from lus_ray.inference.served_model import ServedModel
from lus_ray.inference.stages import NUM_SAMPLES, SegmenterStage
from serve.deployment import ModelDeployment, verify


@serve.deployment(name="Segmenter")
class SegmenterDeployment(ModelDeployment):
    """Frames of a clip (N, H, W), grey 0-255, to masks."""

    def __init__(self, model: ServedModel, copies: Path | None = None) -> None:
        super().__init__([model])
        self.stage = SegmenterStage(verify(model, copies), device=self.select_device())

    async def predict(self, frames: np.ndarray, uncertainty: bool) -> MaskSheet:
        num_samples = NUM_SAMPLES if uncertainty else 0
        return await asyncio.to_thread(self.stage, frames, num_samples=num_samples)
