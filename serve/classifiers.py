"""The networks that predict one label of a clip each."""

import asyncio
from pathlib import Path

import numpy as np
from ray import serve

from lus_ray.inference.schema import ExpertGroup
from lus_ray.inference.served_model import ServedModel
from lus_ray.inference.stages import ClassifiersStage
from serve.deployment import ModelDeployment, verify


@serve.deployment
class Classifiers(ModelDeployment):
    """Frames of clips (N, H, W), grey 0-255, to the predictions of all networks."""

    def __init__(self, models: list[ServedModel], copies: Path | None = None) -> None:
        super().__init__(models)
        verified = [verify(model, copies) for model in models]
        self.stage = ClassifiersStage(verified, device=self.select_device())

    async def predict(self, *clips: np.ndarray) -> list[list[ExpertGroup]]:
        return await asyncio.to_thread(self.stage.predict_batch, clips)
