"""The response to one clip, as `POST /v1/clips` and `lus predict --json` return it.

The service builds these values, the client reads them, and OpenAPI documents them.
Letters: N frames of the clip, K classes. Masks and preview hold the first frame of the clip and
every n-th after it; n is 1 up to 96 frames.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

Row = list[float]
Layout = Literal["colocated", "composed"]
"""Where the models of an application run: in the process that answers, or in one of their own."""


@dataclass(frozen=True)
class ClipInfo:
    """The decoded clip; models may read smaller frames than the file holds.

    `sha256` hashes the grey pixels.
    """

    num_frames: int
    height: int
    width: int
    fps: float | None
    mm_per_pixel: float | None
    format: str
    sha256: str
    notes: list[str]


@dataclass(frozen=True)
class UltrasoundCheck:
    """Whether the clip looks like lung ultrasound, and the reasons if it does not."""

    likely: bool
    score: Annotated[float, Field(ge=0, le=1)]
    reasons: list[str]
    detector: str


@dataclass(frozen=True)
class BiomarkerGroup:
    """The biomarkers `first` to `first + count - 1`."""

    name: str
    first: int
    count: int


@dataclass(frozen=True)
class BiomarkerPrediction:
    """The probabilities of the 38 biomarkers.

    `trained` is false for a biomarker that no training clip had, or every one. `score` is the AUC
    of each on the validation patients. `findings` are the indices of those to report: trained,
    with a probability of at least one half, the most probable first, those that say that something
    is absent last; none, for the given `reason`, where the network does not beat chance.
    """

    model: str
    names: list[str]
    groups: list[BiomarkerGroup]
    probability: Row
    trained: list[bool]
    score: list[float | None]
    findings: list[int]
    reason: str


@dataclass(frozen=True)
class ExpertPrediction:
    """The class probabilities of one expert.

    `kind` is the name of its method. The group's summary covers it where `in_summary`; `reason`
    says why not.
    """

    model: str
    name: str
    kind: str
    probability: Row
    in_summary: bool
    reason: str


@dataclass(frozen=True)
class ExpertGroup:
    """The experts of one label, a sentence about those that beat the `baseline`, and its name."""

    label: str
    title: str
    classes: list[str]
    answers: list[ExpertPrediction]
    summary: str
    baseline: str


@dataclass(frozen=True)
class FrameScores:
    """Probabilities (N, 4) and scores (N) of the frames.

    `boxes` (N, 4, 2) are the corners (x, y) that the network looks at, as fractions of width and
    height.
    """

    model: str
    classes: list[str]
    probability: list[Row]
    score: list[int]
    boxes: list[list[Row]] | None


@dataclass(frozen=True)
class ClipScore:
    """The score of the clip from its frames, and the aggregator's learned neutral elements."""

    model: str
    name: str
    classes: list[str]
    probability: Row
    score: int
    neutral: Row | None


@dataclass(frozen=True)
class MaskSheet:
    """Class ids of the pixels as one grey PNG, frames below one another.

    `colours` start at class 1. `share` (K) is the fraction of pixels of each class.
    """

    model: str
    scheme: str
    classes: list[str]
    colours: list[str]
    height: int
    width: int
    num_frames: int
    sprite: str
    share: Row
    uncertainty: Row | None


@dataclass(frozen=True)
class PreviewSheet:
    """Every n-th frame in one JPEG, frames below one another; n is `every`."""

    height: int
    width: int
    num_frames: int
    every: int
    sprite: str


@dataclass(frozen=True)
class AttentionTarget:
    """What a map explains: a biomarker ("sign") or the summarised severity ("label")."""

    name: str
    kind: Literal["sign", "label"]


@dataclass(frozen=True)
class AttentionSheet:
    """Class activation maps of the backbone as one grey PNG: where it found its evidence.

    All frames of the first target below one another, then those of the next. 255 is the largest
    value of a target, 0 is no evidence, for severity the mean over the clip and less. Frames are
    those of the preview; one that the network did not read has the map of the nearest that it read.
    """

    model: str
    targets: list[AttentionTarget]
    height: int
    width: int
    num_frames: int
    every: int
    sprite: str


@dataclass(frozen=True)
class Estimate:
    """A value and its 95 % interval over resampled patients, in fractions of 1."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class ModelCard:
    """What a model was trained on, and how well it does on the validation patients of its fold.

    `dataset` names the sources; `synthetic`: all training clips are simulated. `size` is that of
    the run. `patients` and `clips` are those it was trained on, with a label. `baseline` is the
    best one on the same patients and `difference` the model minus it, over the same draws;
    `beats_chance` refers to the AUC, `beats_baseline` is null without one. `summary` is one
    sentence.
    """

    dataset: str
    synthetic: bool
    size: str
    patients: int
    clips: int
    metric: str
    validated: Estimate | None
    validation_patients: int
    beats_chance: bool
    baseline: str | None
    difference: Estimate | None
    beats_baseline: bool | None
    summary: str


@dataclass(frozen=True)
class ModelInfo:
    """A served model; `parity` is the largest difference from its stored predictions."""

    id: str
    kind: str
    title: str
    label: str
    fold: int
    fingerprint: str
    parity: float | None
    card: ModelCard | None


@dataclass(frozen=True)
class ClipResponse:
    """All predictions for one clip; a part without a model is null or empty.

    `banner` warns where models are too small or saw simulated clips only. `timings_ms` holds the
    wall time of every stage, 0 for stages that did not run.
    """

    clip: ClipInfo
    lung_ultrasound: UltrasoundCheck
    biomarkers: BiomarkerPrediction | None
    experts: list[ExpertGroup]
    frames: FrameScores | None
    clip_scores: list[ClipScore]
    masks: MaskSheet | None
    preview: PreviewSheet | None
    attention: AttentionSheet | None
    models: list[ModelInfo]
    timings_ms: dict[str, float]
    banner: str | None
    notice: str


@dataclass(frozen=True)
class ServedModels:
    """The models that are served, the reasons why others are rejected, and the limits.

    `layout` says by application (`backbone`, `experts-severity`, ...) where its models run.
    `formats` are the endings of files that the service reads.
    """

    models: list[ModelInfo]
    layout: dict[str, Layout]
    banner: str | None
    refused: list[str]
    limits: dict[str, float]
    formats: list[str]


@dataclass(frozen=True)
class ErrorMessage:
    """Why there is no result, in one line."""

    error: str


CLIP_RESPONSE = TypeAdapter(ClipResponse)
SERVED_MODELS = TypeAdapter(ServedModels)


def to_dict(response: ClipResponse) -> dict[str, Any]:
    """The response as JSON values."""
    return dict(CLIP_RESPONSE.dump_python(response, mode="json"))
