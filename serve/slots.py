"""The slots of a service: which deployment holds the models of each, and its arguments."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lus_ray.inference.served_model import ServedModel
from serve.aggregators import Aggregators
from serve.application import source_slot
from serve.backbone import Backbone
from serve.classifiers import Classifiers
from serve.experts import Experts
from serve.scorer import Scorer
from serve.segmenter import SegmenterDeployment

DEPLOYMENTS: dict[str, Any] = {
    "backbone": Backbone,
    "classifiers": Classifiers,
    "scorer": Scorer,
    "segmenter": SegmenterDeployment,
    "experts": Experts,
    "aggregators": Aggregators,
}
SLOTS = {
    "backbone": "backbone",
    "classifier": "classifiers",
    "frames": "scorer",
    "segmenter": "segmenter",
    "aggregator": "aggregators",
}
"""The slot of each kind of model; experts have one per label."""


def kind_of(slot: str) -> str:
    """The slot without the label of its experts."""
    return slot.partition("-")[0]


def deployment_arguments(
    slot: str, models: Sequence[ServedModel], reads: str | None, copies: Path | None
) -> tuple[Any, ...]:
    """What the deployment of a slot is created with; `reads` is the fingerprint of its source."""
    if source_slot(slot) is not None:
        return list(models), reads, copies
    return (list(models) if slot == "classifiers" else models[0]), copies


def create(slot: str, models: Sequence[ServedModel], reads: str | None, copies: Path | None) -> Any:
    """The object of a deployment's class in this process."""
    deployed = DEPLOYMENTS[kind_of(slot)].func_or_class
    return deployed(*deployment_arguments(slot, models, reads, copies))
