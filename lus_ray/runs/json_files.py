"""JSON in a run folder: read, checked against its types, and line by line."""

import contextlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from lus_ray.errors import StoreError
from lus_ray.storage.files import read_text

T = TypeVar("T")


def read_json(path: Path) -> Any:
    """The content of a JSON file; StoreError if it is missing or damaged."""
    text = read_text(path)
    if text is None:
        raise StoreError(f"{path}: no such file; name a folder that 'lus run ... --out' wrote")
    try:
        return json.loads(text)
    except ValueError as error:
        raise StoreError(f"{path}: not readable ({error}); run the experiment again") from error


def check_types(
    validate: Callable[[Any], T], contents: Any, path: Path, *, expected: str, remedy: str
) -> T:
    """The contents of `path` with pydantic's `validate`; StoreError names the first wrong key."""
    try:
        return validate(contents)
    except ValidationError as error:
        raise StoreError(f"{path}: {expected} ({_explain(error)}); {remedy}") from error


def parse_json_lines(text: str) -> list[dict[str, Any]]:
    """Rows of JSON lines up to the first incomplete one, which a kill may have left."""
    rows: list[dict[str, Any]] = []
    with contextlib.suppress(ValueError):
        for line in text.splitlines():
            row = json.loads(line)
            if not isinstance(row, dict):
                break
            rows.append(row)
    return rows


def _explain(error: ValidationError) -> str:
    """The key and reason of the first wrong value, in the words of JSON."""
    first = error.errors()[0]
    key = ".".join(map(str, first["loc"])) or "the file"
    reason = re.sub(r" or an instance of \w+", "", first["msg"]).replace("tuple", "list")
    return f"{key}: {reason[0].lower()}{reason[1:]}"
