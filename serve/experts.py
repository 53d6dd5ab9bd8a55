"""The experts of one label: small models that read only the backbone's prediction."""

from pathlib import Path

from ray import serve

from lus_ray.inference.schema import ExpertGroup
from lus_ray.inference.served_model import ServedModel
from lus_ray.inference.stages import ExpertsStage
from lus_ray.predictor import Prediction
from serve.deployment import ModelDeployment, verify


@serve.deployment
class Experts(ModelDeployment):
    """Predictions of a backbone to the predictions of the experts."""

    def __init__(self, models: list[ServedModel], reads: str, copies: Path | None = None) -> None:
        super().__init__(models, reads)
        self.stage = ExpertsStage([verify(model, copies) for model in models])

    async def predict(self, *biomarkers: Prediction) -> list[list[ExpertGroup]]:
        return await self.read(self.stage.predict_batch, biomarkers)

    async def weigh_signs(self, biomarkers: Prediction) -> list[float] | None:
        return await self.read(self.stage.weigh_signs, biomarkers)
