"""Plain names of models: what is predicted, by which method, from what."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lus_ray.data.labels import label_name
from lus_ray.runs.manifest import ArmRecord
from lus_ray.tasks.sklearn_expert import EXPERT_NAMES

PARTS = {"Biomarkers": "lung signs", "FrameScore": "frame scores", "VideoScore": "clip score"}
"""What a model predicts, by task name; masks for all others."""


def title_model(task: Mapping[str, Any], arm: ArmRecord, arms: Mapping[str, ArmRecord]) -> str:
    """Such as "severity: support vector machine on biomarkers"; `task` is its description."""
    if task["name"] == "Expert":
        method = name_method(replace(arm, task=dict(task)), arms)
        return f"{label_name(arm.label or '')}: {method}"
    part = PARTS.get(task["name"], "masks")
    if task["name"] == "Biomarkers":
        backbone = task["arguments"].get("backbone") or {}
        return f"{part}: {backbone.get('net', {}).get('name', arm.name)} network"
    return f"{part}: {arm.name}"


def name_method(arm: ArmRecord, arms: Mapping[str, ArmRecord]) -> str:
    """Such as "logistic regression on image statistics"; else the name of the arm."""
    task = arm.task or {}
    kind = task.get("arguments", {}).get("kind")
    if kind not in EXPERT_NAMES:
        return arm.name
    name = EXPERT_NAMES[kind]
    if kind == "prior":
        return name
    source = arms.get(arm.reads or "")
    if source is not None and (source.task or {}).get("name") == "IntensityFeatures":
        return f"{name} on image statistics"
    features = " features" if task["arguments"].get("inputs") == "features" else ""
    return f"{name} on {arm.reads}{features}"
