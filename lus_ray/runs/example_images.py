"""Example images of a cell: frames of test clips with attention maps or masks.

    cells/<arm>/fold<k>/pictures/<n>.svg, captions.json
    cells/<arm>/fold<k>/pictures/<n>-expert.svg, <n>-translated.svg     for B-lines

Why selected by name and label: every arm shows the same examples, so that arms can be compared.
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
from lus_ray.data.labels import label_name
from lus_ray.data.loading.batches import Pixels
from lus_ray.data.loading.sampler import images_of
from lus_ray.data.transforms.view import View
from lus_ray.metrics import segmentation
from lus_ray.predictor import Prediction, predict
from lus_ray.runs import domain_images
from lus_ray.runs.domain_images import DomainPair, ExampleImage
from lus_ray.runs.layout import CAPTIONS
from lus_ray.tasks.clip_classification import ClipNetwork
from lus_ray.tasks.drawable import Drawable
from lus_ray.tasks.ensemble import Ensemble
from lus_ray.tasks.frame_diagnosis import FrameDiagnosis
from lus_ray.tasks.frame_score import FrameScore
from lus_ray.tasks.segmentation import Segmentation
from lus_ray.tasks.task import to_unit_range

NUM_EXAMPLES = 4
NUM_FRAMES = 4
"""Frames of the first sample of an example clip, evenly spaced."""
NUM_BIOMARKERS = 3
"""Most probable biomarkers in a caption."""
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
    """Write images of an example of each score or class, or of a few patients.

    For a task that translates frames, `learns` are the column values of clips of its source domain
    and `unlabelled` those of its target domain.
    """
    folder.mkdir(parents=True, exist_ok=True)
    domains = DomainPair(source=learns, target=unlabelled)
    captions = []
    for number, (row, frame) in enumerate(select_examples(task, rows)):
        for image in _draw_example(task, row, frame, pixels, domains=domains, device=device):
            name = f"{number}{image.suffix}.svg"
            (folder / name).write_text(image.svg)
            example = row["clip"] if isinstance(task, ClipNetwork) else f"{row['clip']}#{frame}"
            shown = {"file": name, "example": example}
            captions.append({**shown, "caption": image.caption, "kind": image.kind})
    (folder / CAPTIONS).write_text(json.dumps(captions, indent=1) + "\n")


def _draw_example(
    task: Drawable, row: Row, frame: int, pixels: Pixels, *, domains: DomainPair, device: str
) -> Iterator[ExampleImage]:
    assert isinstance(task.view, View)
    (resized,) = pixels.clips([row], task.view)
    if isinstance(task, ClipNetwork):
        yield ExampleImage("", "inputs", *draw_inputs(task, resized, row, device=device))
        return
    image = resized[frame]
    if not isinstance(task, Segmentation):
        target = task.target(row)
        assert target is not None
        true = target[frame] if isinstance(target, list) else target
        yield ExampleImage("", "looks", *draw_attention(task, image, true, device=device))
        return
    (ids,) = pixels.masks([row], task.view)
    mask = task.prepare_truth(ids[frame : frame + 1], row)[0]
    if task.scheme == "bline":
        yield from domain_images.draw(task, row, image, mask, domains=domains, device=device)
    else:
        yield ExampleImage("", "masks", *draw_masks(task, image, mask, device=device))


def draw_inputs(
    task: ClipNetwork, frames: UInt8[np.ndarray, "N H W"], row: Row, *, device: str
) -> tuple[str, str]:
    """An SVG of frames as a network reads them, and a caption with its prediction."""
    assert isinstance(task.view, View)
    read = task.view.sample_indices(len(frames))[0]
    few = read[np.linspace(0, len(read) - 1, min(NUM_FRAMES, len(read))).round().astype(int)]
    svg = figures.draw_image_rows([[("", frames[n]) for n in few.tolist()]])
    return svg, _describe(task, row, predict(task, frames, device=device))


def _describe(task: ClipNetwork, row: Row, prediction: Prediction) -> str:
    probability, true = prediction["probability"], task.target(row)
    likely = np.argsort(-probability, kind="stable")
    if task.multilabel:
        known = {1: ", present", 0: ", absent"}
        marks = [known.get(entry, "") for entry in true or [-1] * len(likely)]
        few = likely[:NUM_BIOMARKERS]
        named = [f"{task.classes[k]} {probability[k]:.2f}{marks[k]}" for k in few]
        return f"most probable: {'; '.join(named)}"
    truth = "not annotated" if true is None else task.classes[true]
    return (
        f"{label_name(task.label)} {truth}, predicted {task.classes[likely[0]]} with probability "
        f"{probability[likely[0]]:.2f}"
    )


def draw_attention(
    task: FrameScore | FrameDiagnosis, image: UInt8[np.ndarray, "H W"], true: int, *, device: str
) -> tuple[str, str]:
    """An SVG of the attention of a network in a frame, and a caption with its prediction."""
    (attention,) = task.find_attention(_to_tensor(image, device))
    predicted = int(attention.probability.argmax())
    crops = () if attention.crops is None else (attention.crops * 255).round().astype(np.uint8)
    svg = figures.draw_attention(
        image,
        quads=() if attention.quads is None else tuple(attention.quads),
        heat=attention.heat,
        box=attention.box,
        crops=tuple(crops),
        title="",
    )
    names = task.classes
    word = "score " if isinstance(task, FrameScore) else ""
    probability = f"{attention.probability[predicted]:.2f}"
    return svg, f"{word}{names[true]}, predicted {names[predicted]} with probability {probability}"


def draw_masks(
    task: Segmentation,
    image: UInt8[np.ndarray, "H W"],
    true: UInt8[np.ndarray, "H W"] | None,
    *,
    device: str,
) -> tuple[str, str]:
    """An SVG of a frame, its mask if any, the prediction and its uncertainty; and a caption."""
    frames = _to_tensor(image, device)
    predicted = task.predict(frames)["masks"][0]
    deviation = task.estimate_uncertainty(frames)
    layers = [("expert", true)] if true is not None else []
    layers.append(("prediction", predicted))
    maps = [] if deviation is None else _uncertainty_maps(task, deviation[0])
    svg = figures.draw_masks(image, masks=layers, classes=task.classes, uncertainty=maps)
    is_odd = isinstance(task, Ensemble) and task.batch_statistics
    odd = "; uncertainty with batch norms in training mode, as released" * is_odd
    if true is None:
        return svg, f"no expert mask{odd}"
    return svg, f"{(predicted == true).mean():.0%} of pixels agree with the expert{odd}"


def _uncertainty_maps(
    task: Segmentation, deviation: Float[np.ndarray, "K H W"]
) -> list[tuple[str, Float[np.ndarray, "H W"]]]:
    maps = list(zip(task.classes, deviation, strict=True))[1:]
    if task.scheme == "markers":
        maps.append(("mean of scores 1-3", deviation[list(segmentation.UNION)].mean(axis=0)))
    return maps


def select_examples(task: Drawable, rows: Sequence[Row]) -> list[tuple[Row, int]]:
    """A test clip and one of its frames for each score, class or patient, by name.

    Patients differ where possible. The frame is the middle one of those with the label, and of
    the tested ones where a row lists its images.
    """
    if isinstance(task, ClipNetwork):
        return _select_clips(rows)
    tested = sorted(
        (row for row in rows if row["split"] == "test" and task.target(row) is not None),
        key=lambda row: row["clip"],
    )
    if isinstance(task, FrameScore):
        return _one_per_label(tested, range(NUM_SEVERITIES), lambda row: row["frame_severity"])
    if isinstance(task, FrameDiagnosis):
        return _one_per_label(
            tested, range(len(task.classes)), lambda row: [task.target(row)] * row["num_frames"]
        )
    if task.scheme == "bline":
        return domain_images.select_examples(tested)
    patients: dict[str, tuple[Row, int]] = {}
    for row in tested:
        frames = [frame for frame, copy in images_of(row, 1).tolist() if copy == 0]
        if frames:  # in a split over images, a clip may have only altered copies to test
            patients.setdefault(row["patient"], (row, frames[len(frames) // 2]))
    return list(patients.values())[:NUM_EXAMPLES]


def _select_clips(rows: Sequence[Row]) -> list[tuple[Row, int]]:
    """A test clip of each severity, or of the first patients where none has one."""
    tested = sorted((row for row in rows if row["split"] == "test"), key=lambda row: row["clip"])
    if any(row["severity"] is not None for row in tested):
        return _one_per_label(tested, range(NUM_SEVERITIES), lambda row: [row["severity"]])
    patients = {row["patient"]: row for row in reversed(tested)}
    return [(patients[name], 0) for name in sorted(patients)[:NUM_EXAMPLES]]


def _one_per_label(
    tested: Sequence[Row], wanted: Sequence[Hashable], labels: Callable[[Row], Sequence[Any]]
) -> list[tuple[Row, int]]:
    chosen: list[tuple[Row, int]] = []
    for label in wanted:
        candidates = [row for row in tested if label in labels(row)]
        shown = {row["patient"] for row, _ in chosen}
        if candidates:
            row = next((row for row in candidates if row["patient"] not in shown), candidates[0])
            frames = np.flatnonzero(np.asarray(labels(row)) == label)
            chosen.append((row, int(frames[len(frames) // 2])))
    return chosen


def _to_tensor(image: UInt8[np.ndarray, "H W"], device: str) -> torch.Tensor:
    return to_unit_range(torch.from_numpy(image.copy())[None, None].to(device))
