"""Pictures of what a cell saw: example frames of test clips, where it looked or what it outlined.

    cells/<arm>/fold<k>/pictures/<n>.svg, captions.json
    cells/<arm>/fold<k>/pictures/<n>-expert.svg, <n>-translated.svg     where B-lines are outlined

Why chosen by name and label: the examples are the same for every arm and nobody picked them, so
that two arms can be held side by side.
"""

import json
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8

from lus_ray import figures
from lus_ray.clip import NUM_SEVERITIES, Row
from lus_ray.data.loading.batches import Pixels
from lus_ray.data.loading.sampler import images_of
from lus_ray.data.transforms.view import View
from lus_ray.metrics import segmentation
from lus_ray.runs import domain_images
from lus_ray.runs.domain_images import Domains, Drawn
from lus_ray.runs.layout import CAPTIONS
from lus_ray.tasks.frame_diagnosis import FrameDiagnosis
from lus_ray.tasks.frame_score import FrameScore
from lus_ray.tasks.segmentation import Segmentation
from lus_ray.tasks.task import to_unit_range

NUM_EXAMPLES = 4
Drawable = FrameScore | FrameDiagnosis | Segmentation
Picture = tuple[str, str]
"""An SVG text and its caption."""

NOTHING: Mapping[str, Any] = MappingProxyType({})


def draw(
    task: Drawable,
    rows: Sequence[Row],
    pixels: Pixels,
    folder: Path,
    *,
    device: str,
    learns: Mapping[str, Any] = NOTHING,
    unlabelled: Mapping[str, Any] = NOTHING,
) -> None:
    """Write pictures of an example of each score, of each class, or of a few patients.

    For a task that translates frames, `learns` is what clips of its source domain equal and
    `unlabelled` what those of its target domain do.
    """
    folder.mkdir(parents=True, exist_ok=True)
    domains = Domains(source=learns, target=unlabelled)
    captions = []
    for number, (row, frame) in enumerate(examples(task, rows)):
        for drawn in _drawn(task, row, frame, pixels, domains=domains, device=device):
            name = f"{number}{drawn.ending}.svg"
            (folder / name).write_text(drawn.svg)
            captions.append(
                {
                    "file": name,
                    "example": f"{row['clip']}#{frame}",
                    "caption": drawn.caption,
                    "kind": drawn.kind,
                }
            )
    (folder / CAPTIONS).write_text(json.dumps(captions, indent=1) + "\n")


def _drawn(
    task: Drawable, row: Row, frame: int, pixels: Pixels, *, domains: Domains, device: str
) -> Iterator[Drawn]:
    """The pictures of one example."""
    assert isinstance(task.view, View)
    (resized,) = pixels.clips([row], task.view)
    picture = resized[frame]
    if not isinstance(task, Segmentation):
        yield Drawn("", "looks", *looked(task, picture, _true(task, row, frame), device=device))
        return
    (ids,) = pixels.masks([row], task.view)
    true = task.prepare_truth(ids[frame : frame + 1], row)[0]
    if task.scheme == "bline":
        yield from domain_images.of(task, row, picture, true, domains=domains, device=device)
    else:
        yield Drawn("", "masks", *outlined(task, picture, true, device=device))


def looked(
    task: FrameScore | FrameDiagnosis, picture: UInt8[np.ndarray, "H W"], true: int, *, device: str
) -> Picture:
    """Where a network looked in a frame, and what it said."""
    (seen,) = task.find_attention(_one(picture, device))
    said = int(seen.probability.argmax())
    crops = () if seen.crops is None else (seen.crops * 255).round().astype(np.uint8)
    svg = figures.draw_attention(
        picture,
        quads=() if seen.quads is None else tuple(seen.quads),
        heat=seen.heat,
        box=seen.box,
        crops=tuple(crops),
        title="",
    )
    names = task.classes
    word = "score " if isinstance(task, FrameScore) else ""
    probability = f"{seen.probability[said]:.2f}"
    return svg, f"{word}{names[true]}, said {names[said]} with probability {probability}"


def outlined(
    task: Segmentation,
    picture: UInt8[np.ndarray, "H W"],
    true: UInt8[np.ndarray, "H W"] | None,
    *,
    device: str,
) -> Picture:
    """A frame, its mask where there is one, the prediction, and how unsure it is of each class."""
    frames = _one(picture, device)
    said = task.predict(frames)["masks"][0]
    deviation = task.estimate_uncertainty(frames)
    layers = [("prediction", said)] if true is None else [("expert", true), ("prediction", said)]
    unsure = [] if deviation is None else _unsure(task, deviation[0])
    svg = figures.draw_masks(picture, masks=layers, classes=task.classes, uncertainty=unsure)
    if true is None:
        return svg, "no expert mask"
    return svg, f"{(said == true).mean():.0%} of pixels as the expert has them"


def _unsure(
    task: Segmentation, deviation: Float[np.ndarray, "K H W"]
) -> list[tuple[str, Float[np.ndarray, "H W"]]]:
    """Maps of every class but background, also of those that nobody sees there, by name.

    Of markers last the mean over scores 1 to 3, which Roy et al. 2020 show in Figure 6.
    """
    maps = list(zip(task.classes, deviation, strict=True))[1:]
    if task.scheme == "markers":
        maps.append(("mean of scores 1-3", deviation[list(segmentation.UNION)].mean(axis=0)))
    return maps


def examples(task: Drawable, rows: Sequence[Row]) -> list[tuple[Row, int]]:
    """For each score, class or clip a test clip, by name, and a frame of it.

    Another patient's clip where there is one; the frame is the middle one of those that fit, and
    of those that are tested where a row lists its images.
    B-lines are shown of clips of each domain.
    """
    tested = sorted(
        (row for row in rows if row["split"] == "test" and task.target(row) is not None),
        key=lambda row: row["clip"],
    )
    if isinstance(task, FrameScore):
        return _each(tested, range(NUM_SEVERITIES), lambda row: row["frame_severity"])
    if isinstance(task, FrameDiagnosis):
        return _each(tested, range(len(task.classes)), lambda row: _repeated(task, row))
    if task.scheme == "bline":
        return domain_images.examples(tested)
    patients: dict[str, tuple[Row, int]] = {}
    for row in tested:
        frames = [frame for frame, copy in images_of(row, 1).tolist() if copy == 0]
        if frames:  # of a split over images a clip may have none but altered copies to test
            patients.setdefault(row["patient"], (row, frames[len(frames) // 2]))
    return list(patients.values())[:NUM_EXAMPLES]


def _each(
    tested: Sequence[Row], wanted: Sequence[Hashable], labels: Callable[[Row], Sequence[Any]]
) -> list[tuple[Row, int]]:
    chosen: list[tuple[Row, int]] = []
    for label in wanted:
        having = [row for row in tested if label in labels(row)]
        seen = {row["patient"] for row, _ in chosen}
        fresh = [row for row in having if row["patient"] not in seen]
        if having:
            row = (fresh or having)[0]
            places = np.flatnonzero(np.asarray(labels(row)) == label)
            chosen.append((row, int(places[len(places) // 2])))
    return chosen


def _repeated(task: FrameDiagnosis, row: Row) -> list[Any]:
    return [task.target(row)] * row["num_frames"]


def _true(task: FrameScore | FrameDiagnosis, row: Row, frame: int) -> int:
    found = task.target(row)
    assert found is not None
    return found[frame] if isinstance(found, list) else found


def _one(picture: UInt8[np.ndarray, "H W"], device: str) -> torch.Tensor:
    return to_unit_range(torch.from_numpy(picture.copy())[None, None].to(device))
