"""Pictures of what a cell saw: example frames of test clips with the crops or the heat of the net.

    cells/<arm>/fold<k>/pictures/<n>.svg, captions.json

Why chosen by name and score: the examples are the same for every arm and nobody picked them, so
that two arms can be held side by side.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from lus_ray import figures
from lus_ray.batches import Pixels
from lus_ray.clip import NUM_SEVERITIES, Row
from lus_ray.tasks.frame_score import FrameScore
from lus_ray.tasks.task import unit
from lus_ray.views import View


def draw(
    task: FrameScore, rows: Sequence[Row], pixels: Pixels, folder: Path, *, device: str
) -> None:
    """Write one picture for each score that a test frame has."""
    assert isinstance(task.view, View)
    chosen = examples(rows)
    folder.mkdir(parents=True, exist_ok=True)
    captions = []
    for number, (row, frame) in enumerate(chosen):
        (resized,) = pixels.clips([row], task.view)
        picture = resized[frame]
        pixels_in = unit(torch.from_numpy(picture.copy())[None, None].to(device))
        (seen,) = task.looks(pixels_in)
        true, said = row["frame_severity"][frame], int(seen.probability.argmax())
        crops = () if seen.crops is None else (seen.crops * 255).round().astype(np.uint8)
        svg = figures.looks(
            picture,
            quads=() if seen.quads is None else tuple(seen.quads),
            heat=seen.heat,
            box=seen.box,
            crops=tuple(crops),
            title="",
        )
        (folder / f"{number}.svg").write_text(svg)
        example = f"{row['clip']}#{frame}"
        caption = f"score {true}, said {said} with probability {seen.probability[said]:.2f}"
        captions.append({"file": f"{number}.svg", "example": example, "caption": caption})
    (folder / "captions.json").write_text(json.dumps(captions, indent=1) + "\n")


def examples(rows: Sequence[Row]) -> list[tuple[Row, int]]:
    """For each score a test clip, by name another patient's where there is one, and a frame of it.

    The frame is the middle one of those with that score.
    """
    tested = sorted(
        (r for r in rows if r["split"] == "test" and r["frame_severity"] is not None),
        key=lambda row: row["clip"],
    )
    chosen: list[tuple[Row, int]] = []
    for score in range(NUM_SEVERITIES):
        having = [row for row in tested if score in row["frame_severity"]]
        seen = {row["patient"] for row, _ in chosen}
        fresh = [row for row in having if row["patient"] not in seen]
        if having:
            row = (fresh or having)[0]
            places = np.flatnonzero(np.asarray(row["frame_severity"]) == score)
            chosen.append((row, int(places[len(places) // 2])))
    return chosen
