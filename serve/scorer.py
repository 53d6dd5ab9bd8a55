"""The frame scorer: probabilities of the four severities for every frame."""

import asyncio
from pathlib import Path

import numpy as np
from ray import serve

from lus_ray.inference.served_model import ServedModel
from lus_ray.inference.stages import FrameOutputs, ScorerStage
from serve.deployment import ModelDeployment, verify


@serve.deployment
class Scorer(ModelDeployment):
    """Frames of a clip (N, H, W), grey 0-255, to probabilities (N, 4) and boxes."""

    def __init__(self, model: ServedModel, copies: Path | None = None) -> None:
        super().__init__([model])
        self.stage = ScorerStage(verify(model, copies), device=self.select_device())

    async def predict(self, frames: np.ndarray) -> FrameOutputs:
        return await asyncio.to_thread(self.stage, frames)
