"""Predicted masks for clips of another store, which show how far trained segmenters generalise.

Such clips need no masks, as nothing is scored. The images join the example images of the cell.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from lus_ray.clip import Row, frames_of
from lus_ray.data import store
from lus_ray.data.transforms.view import View
from lus_ray.experiment import Experiment
from lus_ray.runs import example_images
from lus_ray.runs.layout import CAPTIONS, RunFolder
from lus_ray.storage import files
from lus_ray.storage.paths import PathOrUri
from lus_ray.tasks.segmentation import Segmentation
from lus_ray.training import checkpoint

SEGMENTERS = ("Segmentation", "Ensemble", "BinarySegmentation", "MatchedSegmentation", "Sifa")
"""Tasks that segment images, by their names in checkpoints."""
PREFIX = "over-"

Example = tuple[Row, UInt8[np.ndarray, "1 H W"]]
"""A clip and the frame that is shown."""


def draw(experiment: Experiment, folder: RunFolder, examples: Sequence[Example]) -> int:
    """Draw the masks of every segmenter, in its lowest finished fold; returns their number."""
    number = 0
    for arm in experiment.arms:
        cells = sorted(folder.finished_cells(arm.name), key=lambda cell: (cell.seed, cell.number))
        cell = next((cell for cell in cells if cell.checkpoint.is_dir()), None)
        if cell and checkpoint.read_description(cell.checkpoint)["name"] in SEGMENTERS:
            number += _draw_masks(checkpoint.load(cell.checkpoint), examples, cell.images)
    return number


def select_examples(path: PathOrUri) -> list[Example]:
    """A few clips of different patients, selected by a hash of names, with their middle frame."""
    index = store.read_index(path)
    names = sorted(index["clip"].to_pylist(), key=lambda n: hashlib.sha256(n.encode()).hexdigest())
    patient = dict(zip(index["clip"].to_pylist(), index["patient"].to_pylist(), strict=True))
    first: dict[str, str] = {}
    for name in names:
        first.setdefault(patient[name], name)
    chosen = list(first.values())[: example_images.NUM_EXAMPLES]
    rows = store.read(path, chosen, columns=("clip", "height", "width", "frames"))
    return [(row, frames_of(row)[len(row["frames"]) // 2 :][:1]) for row in rows]


def _draw_masks(task: Segmentation, examples: Sequence[Example], folder: Path) -> int:
    assert isinstance(task.view, View)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / CAPTIONS
    known = json.loads(path.read_text()) if path.exists() else []
    captions = [entry for entry in known if not entry["file"].startswith(PREFIX)]
    for number, (row, frame) in enumerate(examples):
        image = task.view.resize(frame)[0]
        svg, caption = example_images.draw_masks(task, image, None, device="cpu")
        name, example = f"{PREFIX}{number}.svg", f"{row['clip']}#{len(row['frames']) // 2}"
        files.write_text(folder / name, svg)
        captions.append({"file": name, "example": example, "caption": caption, "kind": "masks"})
    files.write_text(path, json.dumps(captions, indent=1) + "\n")
    return len(examples)
