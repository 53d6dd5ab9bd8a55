"""The answer to one clip, as `POST /v1/clips` and `lus predict --json` give it.

Letters: N frames of the clip, M of them shown or outlined, H rows, W columns, K classes.

    clip             num_frames, height, width, fps, mm_per_pixel, format, sha256, notes; all of
                     the frames that models read, which may be smaller than those of the file
    lung_ultrasound  likely, score 0-1, reasons, and what the detector is
    biomarkers       model, names, groups (name, first, count), probability; null without a model
    experts          by label: title, classes, and the probability of each expert
    frames           model, classes, probability (N, 4), score (N), boxes (N, 4, 2) or null
    clip_scores      by aggregator: classes, probability, score, neutral elements or null
    masks            model, scheme, classes, colours of class 1 and on, height, width, num_frames,
                     sprite (class ids, frames below one another), share (K), uncertainty (K)
    preview          height, width, num_frames, every, sprite; null unless asked for
    models           id, kind, fold, fingerprint, parity
    timings_ms       of every stage
    notice           what this is for

Masks and preview show the first frame of the clip and every n-th after it; n is 1 up to 96 frames.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from jaxtyping import UInt8

from lus_ray.clip import BIOMARKER_GROUPS, BIOMARKERS, NUM_SEVERITIES, pixel_hash
from lus_ray.data.decoding.decoder import DecodedVideo
from lus_ray.errors import ServeError
from lus_ray.inference import frame_sheets
from lus_ray.inference.model_selection import Kind, Model
from lus_ray.inference.stages import (
    NUM_SAMPLES,
    Aggregators,
    Backbone,
    Experts,
    Outliner,
    Scored,
    Scorer,
)
from lus_ray.inference.ultrasound_detector import DETECTOR, Verdict, looks_like_ultrasound
from lus_ray.predictor import Prediction

NOTICE = "For research only. Not a medical device; not for diagnosis."

TIMED = ("receive", "decode", "backbone", "experts", "frames", "clip_scores", "masks", "total")
"""Stages whose wall time an answer tells, in milliseconds; 0 where there was no such stage."""

Json = dict[str, Any]
T = TypeVar("T")


@dataclass
class Said:
    """What the stages gave for one clip; a stage that is not served leaves its part as it is."""

    biomarkers: Prediction | None = None
    experts: list[Json] = field(default_factory=list)
    frames: Scored | None = None
    clip_scores: list[Json] = field(default_factory=list)
    masks: Json | None = None


@dataclass(frozen=True)
class Seen:
    """What an answer tells of a clip without any model, so that it can be told meanwhile."""

    clip: Json
    verdict: Verdict
    preview: Json | None


def see(decoded: DecodedVideo, *, preview: bool) -> Seen:
    """Hash the pixels of a clip, judge them, and make them small where a preview is asked for."""
    return Seen(
        clip=_clip(decoded),
        verdict=looks_like_ultrasound(decoded.frames),
        preview=frame_sheets.preview(decoded.frames) if preview else None,
    )


def assemble(
    seen: Seen,
    said: Said,
    *,
    models: Sequence[Model],
    parity: Mapping[str, float],
    timings_ms: Mapping[str, float],
) -> Json:
    """The answer as JSON values.

    `parity` is how far each model was from its stored predictions, by id; null where that is not
    known.
    """
    return {
        "clip": seen.clip,
        "lung_ultrasound": {
            "likely": seen.verdict.likely,
            "score": seen.verdict.score,
            "reasons": list(seen.verdict.reasons),
            "detector": DETECTOR,
        },
        "biomarkers": _biomarkers(_id(models, "backbone"), said.biomarkers),
        "experts": said.experts,
        "frames": _frames(_id(models, "frames"), said.frames),
        "clip_scores": said.clip_scores,
        "masks": said.masks,
        "preview": seen.preview,
        "models": served(models, parity),
        "timings_ms": {name: round(timings_ms.get(name, 0.0), 3) for name in TIMED},
        "notice": NOTICE,
    }


def served(models: Sequence[Model], parity: Mapping[str, float]) -> list[Json]:
    """`models` of the answer and of `GET /v1/models`."""
    return [
        {
            "id": model.id,
            "kind": model.kind,
            "fold": model.fold,
            "fingerprint": model.fingerprint,
            "parity": parity.get(model.id),
        }
        for model in models
    ]


def undecoded(frames: UInt8[np.ndarray, "N H W"]) -> DecodedVideo:
    """Frames of a store as if they came from a file: nothing was decoded or shrunk."""
    return DecodedVideo(
        frames, frames.shape[1], frames.shape[2], 1.0, fps=None, num_declared=None, format="store"
    )


class Local:
    """All stages in this process: what `lus predict FILE` does without a server.

    Raises:
        ServeError: there is no model.
        CheckpointError: a checkpoint is damaged or unsafe.
    """

    def __init__(self, models: Sequence[Model], *, device: str = "cpu") -> None:
        if not models:
            raise ServeError("no finished model to apply; give a folder that 'lus run' finished")
        self.models = tuple(models)
        kinds: dict[Kind, list[Model]] = {}
        for model in models:
            kinds.setdefault(model.kind, []).append(model)
        one = {kind: kinds[kind][0] for kind in kinds}
        self.backbone = Backbone(one["backbone"], device=device) if "backbone" in one else None
        self.experts = Experts(kinds.get("expert", []))
        self.scorer = Scorer(one["frames"], device=device) if "frames" in one else None
        self.aggregators = Aggregators(kinds.get("aggregator", []))
        self.outliner = Outliner(one["segmenter"], device=device) if "segmenter" in one else None

    def answer(
        self,
        decoded: DecodedVideo,
        preview: bool = False,
        *,
        uncertainty: bool = False,
        parity: Mapping[str, float] | None = None,
        timings_ms: Mapping[str, float] | None = None,
    ) -> Json:
        """The answer to a clip; `timings_ms` is what receiving and decoding it took."""
        watch = Watch(dict(timings_ms or {}))
        frames, said = decoded.frames, Said()
        if self.backbone is not None:
            said.biomarkers = watch("backbone", self.backbone, frames)
            said.experts = watch("experts", self.experts, said.biomarkers)
        if self.scorer is not None:
            said.frames = watch("frames", self.scorer, frames)
            said.clip_scores = watch("clip_scores", self.aggregators, said.frames.probability)
        if self.outliner is not None:
            num_samples = NUM_SAMPLES if uncertainty else 0
            said.masks = watch("masks", self.outliner, frames, num_samples=num_samples)
        seen = see(decoded, preview=preview)
        watch.stop()
        return assemble(
            seen, said, models=self.models, parity=parity or {}, timings_ms=watch.spent_ms
        )


class Watch:
    """Wall time of stages in milliseconds, beside what was spent before."""

    def __init__(self, spent_ms: dict[str, float]) -> None:
        self.spent_ms, self.before = spent_ms, sum(spent_ms.values())
        self.began = time.perf_counter()

    def __call__(self, stage: str, work: Callable[..., T], *given: Any, **more: Any) -> T:
        """What the work gives, with its time noted."""
        began = time.perf_counter()
        result = work(*given, **more)
        self.spent_ms[stage] = 1e3 * (time.perf_counter() - began)
        return result

    def stop(self) -> None:
        """Note the time of everything."""
        self.spent_ms["total"] = self.before + 1e3 * (time.perf_counter() - self.began)


def _clip(decoded: DecodedVideo) -> Json:
    return {
        "num_frames": len(decoded.frames),
        "height": decoded.frames.shape[1],
        "width": decoded.frames.shape[2],
        "fps": decoded.fps,
        "mm_per_pixel": decoded.mm_per_pixel,
        "format": decoded.format,
        "sha256": pixel_hash(decoded.frames),
        "notes": list(decoded.notes),
    }


def _biomarkers(model: str | None, said: Prediction | None) -> Json | None:
    if said is None:
        return None
    groups, first = [], 0
    for name, levels in BIOMARKER_GROUPS.items():
        groups.append({"name": name, "first": first, "count": len(levels)})
        first += len(levels)
    return {
        "model": model,
        "names": list(BIOMARKERS),
        "groups": groups,
        "probability": said["probability"].tolist(),
    }


def _frames(model: str | None, scored: Scored | None) -> Json | None:
    if scored is None:
        return None
    return {
        "model": model,
        "classes": [str(score) for score in range(NUM_SEVERITIES)],
        "probability": scored.probability.tolist(),
        "score": scored.probability.argmax(axis=1).tolist(),
        "boxes": None if scored.boxes is None else scored.boxes.tolist(),
    }


def _id(models: Sequence[Model], kind: Kind) -> str | None:
    return next((model.id for model in models if model.kind == kind), None)
