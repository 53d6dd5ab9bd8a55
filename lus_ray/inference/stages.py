"""The stages of a response, one class per kind of model.

All raise CheckpointError for a damaged or unsafe checkpoint.

Letters: N frames of a clip, M of them segmented, H rows, W columns, K classes, S samples,
D features; h and w rows and columns of the frame in a network's view.
Why here: a deployment only wraps one of these, so a process without Ray gives the same numbers.
"""

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, UInt8

from lus_ray.data.masks import CLASS_COLOURS
from lus_ray.data.transforms.view import View
from lus_ray.errors import ServeError
from lus_ray.inference import attention, frame_sheets, summaries
from lus_ray.inference.frame_sheets import FrameWindow
from lus_ray.inference.model_selection import LABELS
from lus_ray.inference.schema import AttentionSheet, ClipScore, ExpertGroup, MaskSheet
from lus_ray.inference.served_model import ServedModel
from lus_ray.predictor import Prediction, Predictor, predict, predict_batch, predict_samples_in_turn
from lus_ray.tasks.frame_score import FrameScore
from lus_ray.tasks.segmentation import Segmentation
from lus_ray.tasks.sklearn_expert import EXPERT_NAMES
from lus_ray.tasks.task import to_unit_range

Frames = UInt8[np.ndarray, "N H W"]

UNCERTAINTY_FRAMES = 8
"""Frames whose uncertainty is sampled, equally spaced: each costs dozens of passes."""

NUM_SAMPLES = 40
"""Samples of dropout for the uncertainty of a pixel, as published (Roy et al. 2020)."""


@dataclass(frozen=True)
class FrameOutputs:
    """Probabilities of every frame.

    `boxes` are the corners (x, y) of the crop that the network looks at, in drawing order, as
    fractions of width and height of the frame; None where it reads whole frames.
    """

    probability: Float[np.ndarray, "N K"]
    boxes: Float[np.ndarray, "N 4 2"] | None


class BackboneStage:
    def __init__(self, model: ServedModel, *, device: str = "cpu") -> None:
        self.model, self.predictor = model, Predictor(model.folder, device=device)
        self.view: View = self.predictor.task.view

    def __call__(self, frames: Frames) -> Prediction:
        """`outputs` (S, 38), their mean `probability` (38,), and `features` (S, D)."""
        return self.predict_batch([frames])[0]

    def predict_batch(self, clips: Sequence[UInt8[np.ndarray, "_ _ _"]]) -> list[Prediction]:
        """Predictions for clips of any size from one pass of the network."""
        return predict_batch(self.predictor.task, clips)

    def predict_in_turn(self, clips: Iterable[UInt8[np.ndarray, "_ _ _"]]) -> Iterator[Prediction]:
        """The same for any number of clips, in passes of limited size."""
        samples = map(self.view.resize_samples, clips)
        task, device = self.predictor.task, self.predictor.device
        return predict_samples_in_turn(task, samples, device=device)

    def attend(
        self, frames: Frames, biomarkers: Prediction, severity: Sequence[float] | None
    ) -> AttentionSheet | None:
        """Maps of the findings and of severity; `severity` as from `ExpertsStage.weigh_signs`."""
        findings = summaries.find_signs(self.model, biomarkers["probability"].tolist())
        targets, mix = attention.choose_targets(findings, severity)
        task, device = self.predictor.task, self.predictor.device
        return attention.make_attention(task, self.model.id, frames, targets, mix, device=device)


class ExpertsStage:
    def __init__(self, models: Sequence[ServedModel]) -> None:
        self.predictors = {model: Predictor(model.folder) for model in models}

    def __call__(self, biomarkers: Prediction) -> list[ExpertGroup]:
        """One group per label, in the order of `LABELS`."""
        return self.predict_batch([biomarkers])[0]

    def predict_batch(self, clips: Sequence[Prediction]) -> list[list[ExpertGroup]]:
        """The groups of each of several clips; every expert is called once."""
        groups: list[list[ExpertGroup]] = [[] for _ in clips]
        for label in LABELS:
            for model, predictor in self.predictors.items():
                if model.label == label:
                    method, task = EXPERT_NAMES[predictor.task.kind], predictor.task
                    for group, row in zip(groups, task.predict_rows(clips), strict=True):
                        summaries.add_prediction(group, model, task.classes, method, row)
        return groups

    def weigh_signs(self, biomarkers: Prediction) -> list[float] | None:
        """How much each biomarker changes the probability of the severity that is predicted.

        By finite differences from absent to present, of the best expert of severity that is
        summarised and reads probabilities of biomarkers; None where there is none.
        """
        experts = {
            model: predictor.task
            for model, predictor in self.predictors.items()
            if model.label == "severity" and predictor.task.inputs == "outputs"
        }
        if (best := summaries.best_expert(list(experts))) is None:
            return None
        outputs = biomarkers["outputs"]
        answer = int(experts[best].predict(biomarkers)["probability"].argmax())
        rows = []
        for value in (0.0, 1.0):
            for k in range(outputs.shape[1]):
                changed = outputs.copy()
                changed[:, k] = value
                rows.append({"outputs": changed})
        predicted = experts[best].predict_rows(rows)
        absent, present = np.split(np.array([p["probability"][answer] for p in predicted]), 2)
        return (present - absent).tolist()


class ClassifiersStage:
    """Networks that predict one label of a clip each."""

    def __init__(self, models: Sequence[ServedModel], *, device: str = "cpu") -> None:
        self.predictors = {model: Predictor(model.folder, device=device) for model in models}

    def predict_batch(self, clips: Sequence[UInt8[np.ndarray, "_ _ _"]]) -> list[list[ExpertGroup]]:
        """The groups of each clip, one a label; small clips share passes."""
        groups: list[list[ExpertGroup]] = [[] for _ in clips]
        for model, predictor in self.predictors.items():
            task, view = predictor.task, cast(View, predictor.task.view)
            samples = map(view.resize_samples, clips)
            results = predict_samples_in_turn(task, samples, device=predictor.device)
            for group, result in zip(groups, results, strict=True):
                summaries.add_prediction(group, model, task.classes, "network", result)
        return groups


class ScorerStage:
    def __init__(self, model: ServedModel, *, device: str = "cpu") -> None:
        self.predictor = Predictor(model.folder, device=device)
        self.view: View = self.predictor.task.view

    def __call__(self, frames: Frames) -> FrameOutputs:
        """Probabilities of each frame, and where the network looks."""
        task: FrameScore = self.predictor.task
        resized = self.view.resize(frames)
        if not hasattr(task.net, "branches"):
            outputs = predict(task, resized, device=self.predictor.device)["outputs"]
            return FrameOutputs(outputs, None)
        looks = []
        with torch.inference_mode():
            step = task.samples_per_pass(resized[0].size)
            for chunk in torch.from_numpy(self.view.samples(resized)).split(step):
                looks += task.find_attention(to_unit_range(chunk.to(self.predictor.device)))
        quads = np.stack([look.quads[0] for look in looks if look.quads is not None])
        window = FrameWindow(self.view, *frames.shape[1:])
        return FrameOutputs(np.stack([look.probability for look in looks]), window.to_frame(quads))


class AggregatorsStage:
    def __init__(self, models: Sequence[ServedModel]) -> None:
        self.predictors = {model: Predictor(model.folder) for model in models}

    def __call__(self, probability: Float[np.ndarray, "N K"]) -> list[ClipScore]:
        scores = []
        for model, predictor in self.predictors.items():
            by_class = predictor({"outputs": probability})["probability"].tolist()
            parameter = getattr(predictor.task.net, "neutral", None)
            neutral = None if parameter is None else parameter.detach().tolist()
            classes, best = list(predictor.task.classes), int(np.argmax(by_class))
            scores.append(ClipScore(model.id, model.arm, classes, by_class, best, neutral))
        return scores


class SegmenterStage:
    """Segments all frames of a clip, or every n-th frame of a long one.

    `num_samples` above 0 samples dropout that often for the uncertainty of the classes. A lock
    serialises threads: while dropout is sampled, a second pass would drop units, too.

    Raises:
        ServeError: the checkpoint holds no segmenter.
    """

    def __init__(self, model: ServedModel, num_samples: int = 0, *, device: str = "cpu") -> None:
        self.model, self.num_samples = model, num_samples
        self.predictor = Predictor(model.folder, device=device)
        if not isinstance(self.predictor.task, Segmentation):
            raise ServeError(f"{model.id}: is not a segmenter; serve a segmentation arm")
        self.view = cast(View, self.predictor.task.view)
        self.lock = threading.Lock()

    def __call__(self, frames: Frames, *, num_samples: int | None = None) -> MaskSheet:
        """The masks without the padding of the view."""
        task: Segmentation = self.predictor.task
        window = FrameWindow(self.view, *frames.shape[1:])
        resized = self.view.resize(frames[frame_sheets.frame_slice(len(frames))])
        num_samples = self.num_samples if num_samples is None else num_samples
        with self.lock:
            padded = predict(task, resized, device=self.predictor.device)["masks"]
            uncertainty = self._uncertainty(resized, window, num_samples) if num_samples else None
        masks, num_classes = window.crop(padded), len(task.classes)
        counts = np.bincount(masks.ravel(), minlength=num_classes)
        return MaskSheet(
            model=self.model.id,
            scheme=task.scheme,
            classes=list(task.classes),
            colours=[CLASS_COLOURS[k % len(CLASS_COLOURS)] for k in range(num_classes - 1)],
            height=masks.shape[1],
            width=masks.shape[2],
            num_frames=len(masks),
            sprite=frame_sheets.encode_png(masks),
            share=(counts / masks.size).tolist(),
            uncertainty=uncertainty,
        )

    def _uncertainty(
        self, resized: Frames, window: FrameWindow, num_samples: int
    ) -> list[float] | None:
        few = resized[frame_sheets.frame_slice(len(resized), UNCERTAINTY_FRAMES)]
        samples = to_unit_range(torch.from_numpy(self.view.samples(few))).to(self.predictor.device)
        with torch.inference_mode():
            deviation = self.predictor.task.estimate_uncertainty(samples, num_samples=num_samples)
        return None if deviation is None else window.crop(deviation).mean(axis=(0, 2, 3)).tolist()
