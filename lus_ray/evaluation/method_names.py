"""Names of methods in full, such as "support vector machine on biomarkers"."""

from collections.abc import Mapping

from lus_ray.runs.manifest import ArmRecord
from lus_ray.tasks.sklearn_expert import EXPERT_NAMES


def name_method(arm: ArmRecord, arms: Mapping[str, ArmRecord]) -> str:
    """A classifier with what it reads; the name of the arm for all others."""
    arguments = (arm.task or {}).get("arguments") or {}
    kind = arguments.get("kind")
    if kind not in EXPERT_NAMES:
        return arm.name
    name = EXPERT_NAMES[kind]
    if kind == "prior":
        return name
    source = arms.get(arm.reads or "")
    if source is not None and (source.task or {}).get("name") == "IntensityFeatures":
        return f"{name} on image statistics"
    features = " features" if arguments.get("inputs") == "features" else ""
    return f"{name} on {arm.reads}{features}"
