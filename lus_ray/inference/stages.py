"""The stages of an answer, one class per kind of model, each built from the models it applies.

Letters: N frames of a clip, M of them that are outlined, H rows, W columns, K classes, S samples,
D features; h and w rows and columns of the frame in a network's picture.
Why here: a deployment holds one of these and nothing else, so that a process without Ray gives the
same numbers.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, UInt8

from lus_ray.data.transforms.view import View
from lus_ray.errors import ServeError
from lus_ray.figures import CLASS_COLOURS
from lus_ray.inference import frame_sheets
from lus_ray.inference.model_selection import LABELS, Model
from lus_ray.predictor import Prediction, Predictor, predict, predict_together
from lus_ray.tasks.frame_score import CHUNK, FrameScore
from lus_ray.tasks.segmentation import Segmentation
from lus_ray.tasks.task import unit

Frames = UInt8[np.ndarray, "N H W"]

TITLES = {"severity": "Severity", "sf_ratio": "S/F ratio", "disease": "Disease"}

UNSURE_FRAMES = 8
"""Frames of a clip whose uncertainty is sampled, equally spaced: each costs dozens of passes."""

NUM_SAMPLES = 40
"""Samples of dropout for the uncertainty of a pixel, as published (Roy et al. 2020)."""


@dataclass(frozen=True)
class Scored:
    """What a frame model says of every frame.

    `boxes` are the corners (x, y) of the small crop that it looked at, as shares of width and
    height of the frame, in drawing order; None where it looks at whole frames.
    """

    probability: Float[np.ndarray, "N K"]
    boxes: Float[np.ndarray, "N 4 2"] | None


class Backbone:
    """Biomarkers of clips.

    Raises:
        CheckpointError: the checkpoint is damaged or unsafe.
    """

    def __init__(self, model: Model, *, device: str = "cpu") -> None:
        self.model = model
        self.predictor = Predictor(model.folder, device=device)

    def __call__(self, frames: Frames) -> Prediction:
        """`outputs` (S, 38) and their mean `probability` (38,), and `features` (S, D)."""
        return self.many([frames])[0]

    def many(self, clips: Sequence[UInt8[np.ndarray, "_ _ _"]]) -> list[Prediction]:
        """The answer to each of several clips of any sizes, from one pass of the network."""
        return predict_together(self.predictor.task, clips)


class Experts:
    """Experts on what the backbone says of a clip.

    Raises:
        CheckpointError: a checkpoint is damaged or unsafe.
    """

    def __init__(self, models: Sequence[Model]) -> None:
        self.predictors = {model: Predictor(model.folder) for model in models}

    def __call__(self, said: Prediction) -> list[dict[str, Any]]:
        """By label, in the order of `LABELS`: its classes and the answer of each of its experts."""
        return self.many([said])[0]

    def many(self, clips: Sequence[Prediction]) -> list[list[dict[str, Any]]]:
        """The answer to each of several clips; an expert is asked for all of them at once."""
        groups: list[list[dict[str, Any]]] = [[] for _ in clips]
        for label in LABELS:
            experts = {m: p.task for m, p in self.predictors.items() if m.label == label}
            if not experts:
                continue
            classes = list(next(iter(experts.values())).classes)
            answers = [
                [_said(model, said) for said in task.predict_all(clips)]
                for model, task in experts.items()
            ]
            for number, group in enumerate(groups):
                group.append(
                    {
                        "label": label,
                        "title": TITLES[label],
                        "classes": classes,
                        "answers": [of_expert[number] for of_expert in answers],
                    }
                )
        return groups


class Scorer:
    """The score of every frame.

    Raises:
        CheckpointError: the checkpoint is damaged or unsafe.
    """

    def __init__(self, model: Model, *, device: str = "cpu") -> None:
        self.model = model
        self.predictor = Predictor(model.folder, device=device)
        self.view: View = self.predictor.task.view

    def __call__(self, frames: Frames) -> Scored:
        """Probabilities of the scores of each frame, and where the network looked."""
        task: FrameScore = self.predictor.task
        resized = self.view.resize(frames)
        if not hasattr(task.net, "branches"):
            return Scored(predict(task, resized, device=self.predictor.device)["outputs"], None)
        looks = []
        with torch.inference_mode():
            for part in torch.from_numpy(self.view.samples(resized)).split(CHUNK):
                looks += task.looks(unit(part.to(self.predictor.device)))
        quads = np.stack([look.quads[0] for look in looks if look.quads is not None])
        shown = frame_sheets.Window(self.view, *frames.shape[1:])
        return Scored(np.stack([look.probability for look in looks]), shown.shares(quads))


class Aggregators:
    """The score of a clip from the probabilities of its frames.

    Raises:
        CheckpointError: a checkpoint is damaged or unsafe.
    """

    def __init__(self, models: Sequence[Model]) -> None:
        self.predictors = {model: Predictor(model.folder) for model in models}

    def __call__(self, probability: Float[np.ndarray, "N K"]) -> list[dict[str, Any]]:
        """The probability of each score by each aggregator, and what it learned to be neutral."""
        answers = []
        for model, predictor in self.predictors.items():
            said = _said(model, predictor({"outputs": probability}))
            neutral = getattr(predictor.task.net, "neutral", None)
            answers.append(
                {
                    "model": said["model"],
                    "name": said["name"],
                    "classes": list(predictor.task.classes),
                    "probability": said["probability"],
                    "score": int(np.argmax(said["probability"])),
                    "neutral": None if neutral is None else neutral.detach().tolist(),
                }
            )
        return answers


class Outliner:
    """The class of every pixel, of all frames of a clip or of every n-th of a long one.

    `num_samples` above 0 samples dropout so often for the uncertainty of the classes. Threads take
    turns: while dropout is sampled, a mask would come out of a network that drops too.

    Raises:
        CheckpointError: the checkpoint is damaged or unsafe.
        ServeError: the checkpoint is that of no segmenter.
    """

    def __init__(self, model: Model, num_samples: int = 0, *, device: str = "cpu") -> None:
        self.model, self.num_samples = model, num_samples
        self.predictor = Predictor(model.folder, device=device)
        if not isinstance(self.predictor.task, Segmentation):
            raise ServeError(f"{model.id}: does not outline; serve a segmenter")
        self.view = cast(View, self.predictor.task.view)
        self.turn = threading.Lock()

    def __call__(self, frames: Frames, *, num_samples: int | None = None) -> dict[str, Any]:
        """`masks` of the answer: see `lus_ray.inference.response`.

        What a view adds around a frame is cut off again, so that the masks lie over the frame.
        """
        task: Segmentation = self.predictor.task
        window = frame_sheets.Window(self.view, *frames.shape[1:])
        resized = self.view.resize(frames[frame_sheets.spaced(len(frames))])
        wanted = self.num_samples if num_samples is None else num_samples
        with self.turn:
            said = predict(task, resized, device=self.predictor.device)["masks"]
            uncertainty = self._uncertainty(resized, window, wanted) if wanted else None
        masks, num_classes = window.cut(said), len(task.classes)
        counts = np.bincount(masks.ravel(), minlength=num_classes)
        return {
            "model": self.model.id,
            "scheme": task.scheme,
            "classes": list(task.classes),
            "colours": [CLASS_COLOURS[k % len(CLASS_COLOURS)] for k in range(num_classes - 1)],
            "height": masks.shape[1],
            "width": masks.shape[2],
            "num_frames": len(masks),
            "sprite": frame_sheets.png(masks),
            "share": (counts / masks.size).tolist(),
            "uncertainty": uncertainty,
        }

    def _uncertainty(
        self, resized: UInt8[np.ndarray, "M h w"], window: frame_sheets.Window, num_samples: int
    ) -> list[float] | None:
        """The mean over pixels and a few frames of each class's standard deviation."""
        few = resized[frame_sheets.spaced(len(resized), UNSURE_FRAMES)]
        given = unit(torch.from_numpy(self.view.samples(few)))
        with torch.inference_mode():
            found = self.predictor.task.uncertainty(
                given.to(self.predictor.device), num_samples=num_samples
            )
        return None if found is None else window.cut(found).mean(axis=(0, 2, 3)).tolist()


def _said(model: Model, said: Mapping[str, np.ndarray]) -> dict[str, Any]:
    return {"model": model.id, "name": model.arm, "probability": said["probability"].tolist()}
