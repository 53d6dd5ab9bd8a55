"""External validation: every model of a run on the clips of another store."""

from lus_ray.external_validation.evaluation import default_folder, evaluate, predict_store

__all__ = ["default_folder", "evaluate", "predict_store"]
