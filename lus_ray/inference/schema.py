"""The response to one clip, as `POST /v1/clips` and `lus predict --json` return it.

The service builds these values, the client reads them, and OpenAPI documents them.
Letters: N frames of the clip, K classes. Masks and preview hold the first frame of the clip and
every n-th after it; n is 1 up to 96 frames.
"""

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

Row = list[float]


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
    """The probabilities of the 38 biomarkers."""

    model: str
    names: list[str]
    groups: list[BiomarkerGroup]
    probability: Row


@dataclass(frozen=True)
class ExpertPrediction:
    """The class probabilities of one expert."""

    model: str
    name: str
    probability: Row


@dataclass(frozen=True)
class ExpertGroup:
    """The experts of one label."""

    label: str
    title: str
    classes: list[str]
    answers: list[ExpertPrediction]


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
class ModelInfo:
    """A served model; `parity` is the largest difference from its stored predictions."""

    id: str
    kind: str
    fold: int
    fingerprint: str
    parity: float | None


@dataclass(frozen=True)
class ClipResponse:
    """All predictions for one clip; a part without a model is null or empty.

    `timings_ms` holds the wall time of every stage, 0 for stages that did not run.
    """

    clip: ClipInfo
    lung_ultrasound: UltrasoundCheck
    biomarkers: BiomarkerPrediction | None
    experts: list[ExpertGroup]
    frames: FrameScores | None
    clip_scores: list[ClipScore]
    masks: MaskSheet | None
    preview: PreviewSheet | None
    models: list[ModelInfo]
    timings_ms: dict[str, float]
    notice: str


@dataclass(frozen=True)
class ServedModels:
    """The models that are served, the reasons why others are rejected, and the limits."""

    models: list[ModelInfo]
    refused: list[str]
    limits: dict[str, float]


@dataclass(frozen=True)
class ErrorMessage:
    """Why there is no result, in one line."""

    error: str


CLIP_RESPONSE = TypeAdapter(ClipResponse)
SERVED_MODELS = TypeAdapter(ServedModels)


def to_dict(response: ClipResponse) -> dict[str, Any]:
    """The response as JSON values."""
    return dict(CLIP_RESPONSE.dump_python(response, mode="json"))
