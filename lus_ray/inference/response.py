"""Builds the response to one clip from the outputs of the stages."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TypeVar

import numpy as np
from jaxtyping import UInt8

from lus_ray.clip import BIOMARKER_GROUPS, NUM_SEVERITIES, hash_pixels
from lus_ray.data.decoding.decoder import DecodedVideo
from lus_ray.errors import ServeError
from lus_ray.inference import frame_sheets, schema, stages, summaries
from lus_ray.inference.model_reports import with_reports
from lus_ray.inference.served_model import ModelKind, ServedModel
from lus_ray.inference.ultrasound_detector import DESCRIPTION, detect_ultrasound
from lus_ray.predictor import Prediction

NOTICE = "For research only. Not a medical device; not for diagnosis."

TIMED_STAGES = (
    "receive", "decode", "backbone", "experts", "classifiers", "attention", "frames",
    "clip_scores", "masks", "total",
)  # fmt: skip

T = TypeVar("T")


@dataclass
class StageOutputs:
    """Outputs of the stages for one clip; a stage that is not served leaves its default."""

    biomarkers: Prediction | None = None
    experts: list[schema.ExpertGroup] = field(default_factory=list)
    frames: stages.FrameOutputs | None = None
    clip_scores: list[schema.ClipScore] = field(default_factory=list)
    masks: schema.MaskSheet | None = None
    attention: schema.AttentionSheet | None = None


@dataclass(frozen=True)
class ClipInspection:
    """The parts of a response that need no model, so that they can be computed meanwhile."""

    clip: schema.ClipInfo
    check: schema.UltrasoundCheck
    preview: schema.PreviewSheet | None


def inspect_clip(decoded: DecodedVideo, *, preview: bool) -> ClipInspection:
    """Hash the pixels, check for ultrasound, and make a preview on request."""
    frames = decoded.frames
    num_frames, height, width = frames.shape
    clip = schema.ClipInfo(
        num_frames,
        height,
        width,
        fps=decoded.fps,
        mm_per_pixel=decoded.mm_per_pixel,
        format=decoded.format,
        sha256=hash_pixels(frames),
        notes=list(decoded.notes),
    )
    detection = detect_ultrasound(frames)
    reasons = list(detection.reasons)
    check = schema.UltrasoundCheck(detection.likely, detection.score, reasons, DESCRIPTION)
    return ClipInspection(clip, check, frame_sheets.make_preview(frames) if preview else None)


def build_response(
    inspection: ClipInspection,
    outputs: StageOutputs,
    *,
    models: Sequence[ServedModel],
    parity: Mapping[str, float],
    timings_ms: Mapping[str, float],
) -> schema.ClipResponse:
    by_kind: dict[ModelKind, ServedModel] = {model.kind: model for model in reversed(models)}
    return schema.ClipResponse(
        clip=inspection.clip,
        lung_ultrasound=inspection.check,
        biomarkers=_biomarkers(by_kind.get("backbone"), outputs.biomarkers),
        experts=outputs.experts,
        frames=_frame_scores(by_kind.get("frames"), outputs.frames),
        clip_scores=outputs.clip_scores,
        masks=outputs.masks,
        preview=inspection.preview,
        attention=outputs.attention,
        models=describe_models(models, parity),
        timings_ms={stage: round(timings_ms.get(stage, 0.0), 3) for stage in TIMED_STAGES},
        banner=summaries.write_banner(models),
        notice=NOTICE,
    )


def describe_models(
    models: Sequence[ServedModel], parity: Mapping[str, float]
) -> list[schema.ModelInfo]:
    return [
        schema.ModelInfo(
            id=model.id,
            kind=model.kind,
            title=model.report.title if model.report else model.arm,
            label=model.label,
            fold=model.fold,
            fingerprint=model.fingerprint,
            parity=parity.get(model.id),
            card=model.card,
        )
        for model in models
    ]


def wrap_frames(
    frames: UInt8[np.ndarray, "N H W"], *, fps: float | None = None,
    mm_per_pixel: float | None = None,
) -> DecodedVideo:  # fmt: skip
    """Frames of a store as if they came from a file."""
    height, width = frames.shape[1:]
    return DecodedVideo(
        frames, height, width, 1.0, fps=fps, num_declared=None, format="store",
        mm_per_pixel=mm_per_pixel,
    )  # fmt: skip


class LocalPipeline:
    """All stages in this process: `lus predict FILE` without a server.

    Raises:
        ServeError: there is no model.
        CheckpointError: a checkpoint is damaged or unsafe.
    """

    def __init__(self, models: Sequence[ServedModel], *, device: str = "cpu") -> None:
        if not models:
            raise ServeError("no finished model to apply; pass a folder that 'lus run' finished")
        if any(model.report is None for model in models):
            models = with_reports(models)
        self.models = tuple(models)
        kinds: dict[ModelKind, list[ServedModel]] = {}
        for model in models:
            kinds.setdefault(model.kind, []).append(model)

        def build(stage: Callable[..., T], kind: ModelKind) -> T | None:
            return stage(kinds[kind][0], device=device) if kind in kinds else None

        self.backbone = build(stages.BackboneStage, "backbone")
        self.experts = stages.ExpertsStage(kinds.get("expert", []))
        self.classifiers = stages.ClassifiersStage(kinds.get("classifier", []), device=device)
        self.scorer = build(stages.ScorerStage, "frames")
        self.aggregators = stages.AggregatorsStage(kinds.get("aggregator", []))
        self.segmenter = build(stages.SegmenterStage, "segmenter")

    def predict(
        self,
        decoded: DecodedVideo,
        *,
        preview: bool = False,
        uncertainty: bool = False,
        attention: bool = False,
        parity: Mapping[str, float] | None = None,
        timings_ms: Mapping[str, float] | None = None,
    ) -> schema.ClipResponse:
        """The response to a clip; `timings_ms` holds the times of receiving and decoding it."""
        watch, frames = Stopwatch(timings_ms or {}), decoded.frames
        (outputs,) = self._apply([frames], uncertainty, watch)
        if self.backbone is not None and outputs.biomarkers is not None and attention:
            with watch.time("attention"):
                severity = self.experts.weigh_signs(outputs.biomarkers)
                outputs.attention = self.backbone.attend(frames, outputs.biomarkers, severity)
        inspection = inspect_clip(decoded, preview=preview)
        watch.stop()
        return build_response(
            inspection, outputs, models=self.models, parity=parity or {}, timings_ms=watch.spent_ms
        )

    def predict_batch(
        self, clips: Sequence[DecodedVideo], *, uncertainty: bool = False
    ) -> list[schema.ClipResponse]:
        """The responses to several clips, which share passes of the networks where these can."""
        outputs = self._apply([clip.frames for clip in clips], uncertainty, Stopwatch({}))
        return [
            build_response(
                inspect_clip(clip, preview=False), output, models=self.models, parity={},
                timings_ms={},
            )
            for clip, output in zip(clips, outputs, strict=True)
        ]  # fmt: skip

    def _apply(
        self, clips: Sequence[UInt8[np.ndarray, "_ _ _"]], uncertainty: bool, watch: "Stopwatch"
    ) -> list[StageOutputs]:
        """The outputs of all stages but attention for the frames of each clip."""
        outputs = [StageOutputs() for _ in clips]
        if self.backbone is not None:
            with watch.time("backbone"):
                signs = list(self.backbone.predict_in_turn(clips))
            with watch.time("experts"):
                experts = self.experts.predict_batch(signs)
            for output, biomarkers, groups in zip(outputs, signs, experts, strict=True):
                output.biomarkers, output.experts = biomarkers, groups
        with watch.time("classifiers"):
            networks = self.classifiers.predict_batch(clips)
        for output, groups in zip(outputs, networks, strict=True):
            output.experts = summaries.merge_groups(output.experts, groups)
        for frames, output in zip(clips, outputs, strict=True):
            if self.scorer is not None:
                with watch.time("frames"):
                    output.frames = self.scorer(frames)
                with watch.time("clip_scores"):
                    output.clip_scores = self.aggregators(output.frames.probability)
            if self.segmenter is not None:
                with watch.time("masks"):
                    num_samples = stages.NUM_SAMPLES if uncertainty else 0
                    output.masks = self.segmenter(frames, num_samples=num_samples)
        return outputs


class Stopwatch:
    """Wall time of stages in milliseconds, in addition to the time already spent."""

    def __init__(self, spent_ms: Mapping[str, float]) -> None:
        self.spent_ms, self.before_ms = dict(spent_ms), sum(spent_ms.values())
        self.start = time.perf_counter()

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.spent_ms[stage] = self.spent_ms.get(stage, 0.0) + 1e3 * (time.perf_counter() - start)

    def stop(self) -> float:
        self.spent_ms["total"] = self.before_ms + 1e3 * (time.perf_counter() - self.start)
        return self.spent_ms["total"]


def _biomarkers(
    model: ServedModel | None, prediction: Prediction | None
) -> schema.BiomarkerPrediction | None:
    if model is None or prediction is None:
        return None
    sizes = [len(levels) for levels in BIOMARKER_GROUPS.values()]
    starts = accumulate(sizes, initial=0)
    groups = [
        schema.BiomarkerGroup(*group)
        for group in zip(BIOMARKER_GROUPS, starts, sizes, strict=False)
    ]
    probability = prediction["probability"].tolist()
    return summaries.describe_biomarkers(model, groups, probability)


def _frame_scores(
    model: ServedModel | None, outputs: stages.FrameOutputs | None
) -> schema.FrameScores | None:
    if model is None or outputs is None:
        return None
    return schema.FrameScores(
        model=model.id,
        classes=[str(score) for score in range(NUM_SEVERITIES)],
        probability=outputs.probability.tolist(),
        score=outputs.probability.argmax(axis=1).tolist(),
        boxes=None if outputs.boxes is None else outputs.boxes.tolist(),
    )
