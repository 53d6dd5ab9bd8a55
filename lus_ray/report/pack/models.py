"""The main models of a run: what they read, how they are built, trained and used."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
from safetensors import SafetensorError, safe_open

from lus_ray.data.labels import label_name
from lus_ray.evaluation.schema import Limits, Number, ReportContents
from lus_ray.report import conclusions, result_tables
from lus_ray.runs import predictions
from lus_ray.runs.layout import RunFolder
from lus_ray.runs.manifest import ArmRecord, RunRecord

WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class MainModel:
    """A main arm of a label with its score; patients and clips are those of its training splits.

    `num_patients` and `num_clips` are the lowest and the highest over the finished folds.
    """

    name: str
    label: str
    method: str
    is_baseline: bool
    leak: str
    network: str
    num_parameters: int | None
    inputs: str
    training: str
    balance: str
    num_patients: tuple[int, int] | None
    num_clips: tuple[int, int] | None
    metric: str
    value: Number
    interval: Limits
    num_test_patients: int


def read(contents: ReportContents, record: RunRecord, run: Path) -> tuple[MainModel, ...]:
    """The highlighted arms of every label, the leading label first."""
    arms = {arm.name: arm for arm in record.arms}
    models = []
    for label in conclusions.order_labels(contents):
        metric = conclusions.leading_metric(contents, label) or ""
        for result in result_tables.main_arms(contents, label):
            arm = arms[result.name]
            patients, clips = _count_training(arm, run)
            models.append(
                MainModel(
                    name=result.name,
                    label=label,
                    method=result.method,
                    is_baseline=result.baseline,
                    leak=result.leak or "",
                    network=", ".join(describe_networks(arm)),
                    num_parameters=_count_parameters(arm, run),
                    inputs=describe_inputs(arm),
                    training=describe_training(arm),
                    balance=describe_balance(arm),
                    num_patients=patients,
                    num_clips=clips,
                    metric=metric,
                    value=result.mean.get(metric),
                    interval=result.interval.get(metric, (None, None)),
                    num_test_patients=result.num_patients,
                )
            )
    return tuple(models)


def describe_networks(arm: ArmRecord) -> list[str]:
    """Names of the networks of an arm with their settings, such as "TSM (width 16)"."""
    return list(dict.fromkeys(_walk_networks(arm.task or {})))


def describe_inputs(arm: ArmRecord) -> str:
    """What a model reads: pixels of a size, or the predictions of an earlier arm."""
    view = _find(arm.task or {}, "view")
    view = view.get("view", view) if isinstance(view, Mapping) else {}
    if "height" in view:
        number = view.get("num_frames") or 1
        frames = "single frames" if number == 1 else f"{number} frames of a clip"
        return f"{frames}, grey, resized to {view['height']} × {view['width']} pixels"
    if arm.reads is None:
        return ""
    kind = "features" if arm.task_arguments.get("inputs") == "features" else "predictions"
    return f"{kind} of “{arm.reads}”"


def describe_training(arm: ArmRecord) -> str:
    """The recipe of a network in words; empty for classifiers that are fitted in one call."""
    recipe = arm.recipe
    if recipe is None:
        return ""
    norms = f"batch norm statistics of {recipe.get('norm_batches')} batches without dropout"
    if recipe.get("epochs") == 0:
        return f"weights of “{arm.start}”, {norms}"
    parts = [
        f"{recipe.get('epochs')} epochs", f"batches of {recipe.get('batch') or 'one clip'}",
        f"learning rate {recipe.get('lr'):g}" if recipe.get("lr") else "",
        f"weight decay {recipe['weight_decay']:g}" if recipe.get("weight_decay") else "",
        f"L2 penalty {recipe['l2']:g}" if recipe.get("l2") else "",
        f"loss {arm.task_arguments['loss']}" if arm.task_arguments.get("loss") else "",
        "augmented" if recipe.get("augment") or (recipe.get("copies") or 1) > 1 else "",
        f"starts from “{arm.start}”" if arm.start else "",
        f"starts from weights with SHA-256 {arm.weights['sha256'][:12]}" if arm.weights else "",
        norms if recipe.get("norm_batches") else "",
        _selected(str(recipe.get("select") or "")),
    ]  # fmt: skip
    return ", ".join(filter(None, parts))


def describe_balance(arm: ArmRecord) -> str:
    """How a model was trained against class imbalance; empty where it was not."""
    if (column := (arm.recipe or {}).get("oversample")) == "markers":
        return "half of a batch are frames of score 0, and a sixth each other score"
    if column:
        name = label_name(arm.label or "") if column == "label" else label_name(column)
        return f"batches sample every class of {name} equally often"
    is_plain = arm.kind in ("prior", "logistic")
    if arm.kind and arm.task_arguments.get("balance") and not is_plain:
        return "clips of smaller classes are repeated up to the size of the largest class"
    return ""


def describe_search(arm: ArmRecord) -> str:
    if arm.search is None or not arm.search.samples:
        return ""
    return f"{arm.name}: {arm.search.samples} samples of {', '.join(arm.search.space)}"


def _selected(select: str) -> str:
    return {
        "best": "the epoch with the best validation score is kept",
        "last": "the last epoch is kept",
        "loss": "the epoch with the lowest training loss is kept",
        "test": "the epoch with the best test score is kept (a leak)",
    }.get(select, "")


def _count_training(
    arm: ArmRecord, run: Path
) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    patients, clips = [], []
    for cell in RunFolder(run).finished_cells(arm.name):
        _, table = predictions.read(
            cell.predictions,
            lambda info: ("patient", "split", "target" if info.scheme is None else "counts"),
        )
        target = next(name for name in ("target", "counts") if name in table.column_names)
        rows = table.filter(pc.and_(pc.equal(table["split"], "train"), table[target].is_valid()))
        patients.append(len(set(rows["patient"].to_pylist())))
        clips.append(len(rows))
    if not patients:
        return None, None
    return (min(patients), max(patients)), (min(clips), max(clips))


def _count_parameters(arm: ArmRecord, run: Path) -> int | None:
    for cell in RunFolder(run).finished_cells(arm.name):
        path = cell.checkpoint / WEIGHTS
        try:
            with safe_open(path, "np") as weights:
                shapes = [weights.get_slice(name).get_shape() for name in weights.keys()]  # noqa: SIM118
        except (OSError, SafetensorError):
            continue
        return sum(map(math.prod, shapes))
    return None


def _walk_networks(part: Any) -> Iterator[str]:
    if isinstance(part, Mapping):
        net = part.get("net")
        if isinstance(net, Mapping) and isinstance(net.get("name"), str):
            width = (net.get("arguments") or {}).get("width")
            yield f"{net['name']} (width {width})" if width else net["name"]
        for own in part.values():
            yield from _walk_networks(own)
    elif isinstance(part, list | tuple):
        for own in part:
            yield from _walk_networks(own)


def _find(part: Any, name: str) -> Any:
    """The first value of a key at any depth."""
    if isinstance(part, Mapping):
        if name in part:
            return part[name]
        part = list(part.values())
    if isinstance(part, list | tuple):
        return next((found for own in part if (found := _find(own, name)) is not None), None)
    return None
