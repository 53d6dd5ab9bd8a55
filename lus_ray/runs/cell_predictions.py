"""Predictions of a task for clips, whether it reads pixels, tracks, or rows of an earlier arm."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from lus_ray.clip import Row
from lus_ray.data.loading.batches import Pixels, Tracks
from lus_ray.data.transforms import augment_gare2021
from lus_ray.data.transforms.view import Track, View
from lus_ray.predictor import Prediction, predict_in_turn, split_samples
from lus_ray.runs.cell import EpochCallback
from lus_ray.tasks.segmentation import Segmentation
from lus_ray.tasks.task import Task, to_unit_range

REPORT_S = 5.0


def predict_and_report(
    predict: Callable[..., Iterable[Prediction]], report: EpochCallback, task: Any,
    rows: Sequence[Row],
) -> Iterator[Prediction]:  # fmt: skip
    """The predictions of `predict(task, rows)`, with a report of their number every few seconds."""
    last = time.monotonic()
    for number, prediction in enumerate(predict(task, rows), 1):
        yield prediction
        if (now := time.monotonic()) - last > REPORT_S:
            last = now
            report({"predicted": number, "clips": len(rows)})


def predict_clips(
    task: Any, rows: Sequence[Row], pixels: Pixels, device: str, *, num_samples: int = 0
) -> Iterator[Prediction]:
    """Predictions for each clip in order; `num_samples` above 0 replaces that of the view."""
    if task.reads_rows:
        yield from task.predict_rows(rows)
        return
    if task.scheme is not None:
        yield from _measure(task, rows, pixels, device, num_samples)
        return
    clips = pixel_source(task, pixels).clips(rows, task.view)
    yield from predict_in_turn(task, clips, device=device, num_samples=num_samples)


def _measure(
    task: Segmentation, rows: Sequence[Row], pixels: Pixels, device: str, num_samples: int
) -> Iterator[Prediction]:
    assert isinstance(task.view, View)
    readable = [row for row in rows if task.target(row) is not None]
    masked = zip(pixels.clips(readable, task.view), pixels.masks(readable, task.view), strict=True)
    for row in rows:
        if task.target(row) is None:
            yield {}
            continue
        frames, ids = next(masked)
        sampled = task.view.sample_indices(len(frames), num_samples)
        if row.get("images") is not None:
            sampled = np.asarray(row["images"])
        counted = []
        for part in split_samples(task, sampled, frames[0].size):
            images = to_unit_range(torch.from_numpy(frames[part[:, 0]][:, None]).to(device))
            true = torch.from_numpy(task.prepare_truth(ids[part[:, 0]], row)[:, None]).to(device)
            if part.shape[1] > 1:
                copies = torch.from_numpy(part[:, 1])
                images, true = augment_gare2021.make_copies(images, true, copies)
            counted.append(task.count_pixels(images, true[:, 0].cpu().numpy()))
        yield {
            "counts": np.concatenate([part["counts"] for part in counted]),
            "bins": np.sum([part["bins"] for part in counted], axis=0),
        }


def pixel_source(task: Task, pixels: Pixels) -> Any:
    """The source of a task's samples: pixels, or predictions of an earlier arm per frame."""
    return Tracks() if isinstance(task.view, Track) else pixels


def target_of(task: Any, row: Row) -> Any:
    """The target of a row; None for a row or task without one."""
    return task.target(row) if task.columns or task.scheme else None


def sampled_target(task: Task, row: Row, num_samples: int) -> Any:
    """The target; of single frames, only that of the sampled ones."""
    target = task.target(row)
    if not task.by_frame or not num_samples:
        return target
    assert isinstance(task.view, View)
    return [target[number] for (number,) in task.view.sample_indices(len(target), num_samples)]
