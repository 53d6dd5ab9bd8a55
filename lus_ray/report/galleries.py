"""Pictures in the cells of a run, by kind, example and arm.

cells/<arm>/fold<k>/pictures/captions.json    [{"file", "example", "caption", "kind"}]
cells/<arm>/fold<k>/pictures/*.svg
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lus_ray.errors import StoreError
from lus_ray.evaluation.results import CellResult, RunResults
from lus_ray.runs.layout import CAPTIONS, IMAGES

ATTENTION, INPUTS, MASKS, EXPERT, SEGMENTATIONS, TRANSLATIONS = KINDS = (
    "looks", "inputs", "masks", "expert", "outlines", "translations",
)  # fmt: skip
"""Kinds: attention maps (the default); frames as a network reads them; masks over the frame; the
mask of the expert alone; that of the expert with that of the arm; the frame translated to another
domain and back."""

EXPERT_ARM = "expert"
NUM_EXAMPLES = 12
MAX_BYTES = 4 << 20


@dataclass(frozen=True)
class Picture:
    svg: str
    caption: str

    @property
    def source(self) -> str:
        packed = base64.b64encode(self.svg.encode()).decode()
        return f"data:image/svg+xml;base64,{packed}"


@dataclass(frozen=True)
class Gallery:
    """Pictures by example and arm, all of one fold."""

    fold: int
    arms: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Picture | None, ...]], ...]


def read_gallery(run: RunResults, kind: str = ATTENTION) -> Gallery | None:
    """Pictures of a kind from the fold in which most arms have some, the first of ties; or None.

    Raises:
        StoreError: captions are damaged, or name an unknown kind or a file outside their folder.
    """
    by_fold: dict[int, dict[str, dict[str, Picture]]] = {}
    for fold in sorted(run.folds):
        for arm in run.record.arms:
            cell = run.cells.get((arm.name, fold))
            if cell is not None and (own := _read(cell, kind)):
                by_fold.setdefault(fold, {})[cell.arm] = own
    if not by_fold:
        return None
    fold, arms = max(by_fold.items(), key=lambda item: (len(item[1]), -item[0]))
    examples = list(dict.fromkeys(name for own in arms.values() for name in own))[:NUM_EXAMPLES]
    rows = tuple((name, tuple(own.get(name) for own in arms.values())) for name in examples)
    return Gallery(fold, tuple(arms), rows)


def read_segmentations(run: RunResults) -> Gallery | None:
    """Masks of B-lines, those of the expert alone before those of the arms; or None.

    Raises:
        StoreError: captions are damaged.
    """
    arms, expert = read_gallery(run, SEGMENTATIONS), read_gallery(run, EXPERT)
    if arms is None or expert is None:
        return arms
    by_example = {name: next(filter(None, pictures), None) for name, pictures in expert.rows}
    rows = tuple((name, (by_example.get(name), *pictures)) for name, pictures in arms.rows)
    return Gallery(arms.fold, (EXPERT_ARM, *arms.arms), rows)


def _read(cell: CellResult, kind: str) -> dict[str, Picture]:
    folder = cell.folder / IMAGES
    path = folder / CAPTIONS
    if not path.is_file():
        return {}
    try:
        entries: Sequence[dict[str, str]] = json.loads(path.read_text(encoding="utf-8"))
        return {
            e["example"]: Picture(_svg(folder, e["file"]), e["caption"])
            for e in entries
            if _kind(e) == kind
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise StoreError(f"{path}: not readable ({reason}); remove the folder") from error


def _kind(entry: Mapping[str, str]) -> str:
    kind = entry.get("kind", ATTENTION)
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}; expected one of {', '.join(KINDS)}")
    return kind


def _svg(folder: Path, name: str) -> str:
    path = folder / name
    if path.suffix != ".svg" or Path(name).name != name or path.is_symlink():
        raise ValueError(f"{name!r} is not an SVG file of this folder")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{name!r} is larger than {MAX_BYTES >> 20} MiB")
    text = path.read_text(encoding="utf-8")
    if "<svg" not in text:
        raise ValueError(f"{name!r} contains no SVG")
    return text[text.index("<svg") :]
