"""What the search of an arm tried and chose, `cells/<arm>/search.json`."""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from lus_ray.runs.json_files import check_types, read_json
from lus_ray.runs.layout import CELLS, SEARCH_RESULT
from lus_ray.storage.files import write_text


@dataclass(frozen=True, kw_only=True)
class SampleResult:
    """A sample with its validation score on each fold, None where that is undefined.

    `score` is what samples are compared by. `fold` is None where folds share their samples. The
    first sample has no settings.
    """

    number: int
    fold: int | None
    settings: dict[str, Any]
    state: Literal["finished", "pruned", "failed", "unfinished"]
    scores: dict[int, float | None]
    score: float | None
    is_chosen: bool


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """`space` describes the range of every hyperparameter, `unchanged` has the values of the arm.

    With `trained_again`, the arm is the chosen sample trained on validation patients too.
    """

    arm: str
    space: dict[str, str]
    unchanged: dict[str, Any]
    trained_again: bool
    samples: tuple[SampleResult, ...]


RESULT = TypeAdapter(SearchResult)


def write(result: SearchResult, path: Path) -> None:
    write_text(path, json.dumps(asdict(result), indent=1) + "\n")


def read_all(run: Path, arms: Iterable[str]) -> tuple[SearchResult, ...]:
    """The searches of a run in the order of its arms; StoreError for a damaged file."""
    found = {}
    for path in sorted(run.glob(f"{CELLS}/*/{SEARCH_RESULT}")):
        remedy = "delete it"
        result = check_types(
            RESULT.validate_python, read_json(path), path, expected="no result of a search",
            remedy=remedy,
        )  # fmt: skip
        found[result.arm] = result
    return tuple(found[name] for name in arms if name in found)


def finite(score: float) -> float | None:
    return score if math.isfinite(score) else None
