"""What a run folder holds: the names in it, and how its records are read.

experiment.json                      what is run: arms, recipes, data, published values
folds.json                           patients of every fold (`lus_ray.folds`)
cells/<arm>/fold<k>/                 checkpoint, metrics.jsonl, cost.json
predictions/<arm>/fold<k>.parquet    the cell is finished (`lus_ray.runs.predictions`)
"""

import json
import re
from pathlib import Path
from typing import Any

from lus_ray.errors import StoreError
from lus_ray.storage.files import read_text

RECORD = "experiment.json"
FOLDS = "folds.json"

KINDS: dict[str, type] = {
    "experiment": str,
    "arms": list,
    "data": dict,
    "domains": dict,
    "folds": dict,
    "metrics": list,
    "published": dict,
    "claims": list,
    "gaps": list,
    "commands": list,
}
"""What a record holds under its keys; the first two are in every record."""
PARTS: dict[str, type] = {"rows": dict, "recipe": dict, "task": dict, "search": dict}
"""What an arm of a record holds, where it is not null."""


def slug(name: str) -> str:
    """An arm's name as the name of its folders."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def record(out: Path) -> dict[str, Any]:
    """The record of the run in a folder: at least `experiment`, and `arms` with a `name` each.

    Raises:
        StoreError: the folder holds no run, or its record is damaged.
    """
    path = out / RECORD
    found = read_json(path)
    if trouble := _trouble(found):
        raise StoreError(
            f"{path}: no record of a run ({trouble}); restore it, or run into an empty folder"
        )
    return dict(found)


def read_json(path: Path) -> Any:
    """The content of a JSON file of a run folder.

    Raises:
        StoreError: there is no such file, or it is damaged.
    """
    text = read_text(path)
    if text is None:
        raise StoreError(f"{path}: no such file; name a folder that 'lus run ... --out' wrote")
    try:
        return json.loads(text)
    except ValueError as error:
        raise StoreError(f"{path}: not readable ({error}); run the experiment again") from error


def lines(text: str) -> list[dict[str, Any]]:
    """Rows of JSON lines up to the first that is no whole line: a kill may have cut it short."""
    rows: list[dict[str, Any]] = []
    for line in text.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            break
        if not isinstance(row, dict):
            break
        rows.append(row)
    return rows


def _trouble(found: Any) -> str | None:
    """What is wrong with a record, or None."""
    if not isinstance(found, dict):
        return f"it is a {type(found).__name__}"
    for key in ("experiment", "arms"):
        if key not in found:
            return f"it has no {key!r}"
    for key, kind in KINDS.items():
        if not isinstance(found.get(key, kind()), kind):
            return f"{key!r} is a {type(found[key]).__name__}"
    for arm in found["arms"]:
        if not isinstance(arm, dict) or not isinstance(arm.get("name"), str):
            return "an arm has no name"
        for key, kind in PARTS.items():
            if arm.get(key) is not None and not isinstance(arm[key], kind):
                return f"{key!r} of arm {arm['name']!r} is a {type(arm[key]).__name__}"
    return None
