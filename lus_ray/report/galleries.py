"""Pictures that cells left behind, by kind, example by example and arm by arm.

cells/<arm>/fold<k>/pictures/captions.json    [{"file", "example", "caption", "kind"}]
cells/<arm>/fold<k>/pictures/*.svg
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lus_ray.errors import StoreError
from lus_ray.evaluation.results import Cell, Run

LOOKS, MASKS, EXPERT, OUTLINES, TRANSLATIONS = KINDS = (
    "looks", "masks", "expert", "outlines", "translations",
)  # fmt: skip
"""Kinds: where a network looked, which needs no mention; masks over the frame; the outline of the
expert alone; with it that of the arm; the frame as another domain would show it, and back."""

NUM_EXAMPLES = 12
MAX_BYTES = 4 << 20
"""A picture larger than this has no place inside a page."""


@dataclass(frozen=True)
class Looked:
    """One picture: the SVG text and its caption."""

    svg: str
    caption: str


@dataclass(frozen=True)
class Grid:
    """Pictures by example and arm, all of one fold."""

    fold: int
    arms: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Looked | None, ...]], ...]


def grid(run: Run, kind: str = LOOKS) -> Grid | None:
    """Pictures of a kind, of the fold in which most arms have some, the first of equals; or None.

    Raises:
        StoreError: captions are damaged, or name a file that is not beside them or another kind.
    """
    by_fold: dict[int, dict[str, dict[str, Looked]]] = {}
    for fold in sorted(run.folds):
        for entry in run.experiment["arms"]:
            cell = run.cells.get((entry["name"], fold))
            if cell is not None and (own := _read(cell, kind)):
                by_fold.setdefault(fold, {})[cell.arm] = own
    if not by_fold:
        return None
    fold, arms = max(by_fold.items(), key=lambda item: (len(item[1]), -item[0]))
    examples = list(dict.fromkeys(name for own in arms.values() for name in own))[:NUM_EXAMPLES]
    rows = tuple((name, tuple(own.get(name) for own in arms.values())) for name in examples)
    return Grid(fold, tuple(arms), rows)


def beside_expert(run: Run) -> Grid | None:
    """Outlines of B-lines, those of the expert alone before those of the arms; or None.

    Raises:
        StoreError: as `grid` does.
    """
    found, experts = grid(run, OUTLINES), grid(run, EXPERT)
    if found is None or experts is None:
        return found
    alone = {name: next(filter(None, looked), None) for name, looked in experts.rows}
    rows = tuple((name, (alone.get(name), *looked)) for name, looked in found.rows)
    return Grid(found.fold, ("expert", *found.arms), rows)


def _read(cell: Cell, kind: str) -> dict[str, Looked]:
    folder = cell.folder / "pictures"
    path = folder / "captions.json"
    if not path.is_file():
        return {}
    try:
        entries: Sequence[dict[str, str]] = json.loads(path.read_text(encoding="utf-8"))
        return {
            e["example"]: Looked(_svg(folder, e["file"]), e["caption"])
            for e in entries
            if _kind(e) == kind
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise StoreError(f"{path}: not readable ({reason}); remove the folder") from error


def _kind(entry: Mapping[str, str]) -> str:
    kind = entry.get("kind", LOOKS)
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r} is none of {', '.join(KINDS)}")
    return kind


def _svg(folder: Path, name: str) -> str:
    """A picture beside its captions; a name that leads elsewhere is refused."""
    path = folder / name
    if path.suffix != ".svg" or Path(name).name != name or path.is_symlink():
        raise ValueError(f"{name!r} is no SVG file of this folder")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{name!r} is larger than {MAX_BYTES >> 20} MiB")
    text = path.read_text(encoding="utf-8")
    if "<svg" not in text:
        raise ValueError(f"{name!r} holds no SVG")
    return text[text.index("<svg") :]
