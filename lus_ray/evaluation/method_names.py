"""Names of methods in full, such as "support vector machine on biomarkers"."""

from collections.abc import Mapping

from lus_ray.runs.manifest import ArmRecord
from lus_ray.tasks.sklearn_expert import EXPERT_NAMES


def name_method(arm: ArmRecord, arms: Mapping[str, ArmRecord]) -> str:
    """A classifier with what it reads; the name of the arm for all others."""
    name = EXPERT_NAMES.get(arm.kind or "")
    if name is None:
        return arm.name
    if arm.kind == "prior":
        return name
    source = arms.get(arm.reads or "")
    if source is not None and (source.task or {}).get("name") == "IntensityFeatures":
        return f"{name} on image statistics"
    features = " features" if arm.task_arguments.get("inputs") == "features" else ""
    return f"{name} on {arm.reads}{features}"
