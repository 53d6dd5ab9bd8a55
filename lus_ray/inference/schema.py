"""The answer in the OpenAPI schema: names, shapes and ranges of everything that a client reads."""

from pydantic import BaseModel, Field

Probability = float
Row = list[float]


class ClipAbout(BaseModel):
    """The clip as it was decoded; `sha256` is that of the grey pixels."""

    num_frames: int
    height: int
    width: int
    fps: float | None
    mm_per_pixel: float | None
    format: str
    sha256: str
    notes: list[str]


class Likely(BaseModel):
    """Whether the input looks like lung ultrasound, why not, and what judges that."""

    likely: bool
    score: float = Field(ge=0, le=1)
    reasons: list[str]
    detector: str


class Group(BaseModel):
    """Biomarkers `first` to `first + count` that a clinician ticks in one group."""

    name: str
    first: int
    count: int


class Biomarkers(BaseModel):
    """A probability for each of the 38 biomarkers."""

    model: str
    names: list[str]
    groups: list[Group]
    probability: Row


class Said(BaseModel):
    """What one expert says: a probability per class."""

    model: str
    name: str
    probability: Row


class Experts(BaseModel):
    """The experts of one label."""

    label: str
    title: str
    classes: list[str]
    answers: list[Said]


class FrameScores(BaseModel):
    """Probabilities of each frame; `boxes` are corners (x, y) as shares of width and height."""

    model: str
    classes: list[str]
    probability: list[Row]
    score: list[int]
    boxes: list[list[Row]] | None


class ClipScore(BaseModel):
    """What an aggregator makes of the frames, with the neutral elements that it learned."""

    model: str
    name: str
    classes: list[str]
    probability: Row
    score: int
    neutral: Row | None


class Masks(BaseModel):
    """Class ids of the pixels as one grey PNG, frames below one another."""

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


class Preview(BaseModel):
    """Every n-th frame as one JPEG, frames below one another."""

    height: int
    width: int
    num_frames: int
    every: int
    sprite: str


class ModelAbout(BaseModel):
    """A model that answered; `parity` is how far its replayed predictions were from the stored."""

    id: str
    kind: str
    fold: int
    fingerprint: str
    parity: float | None


class Answer(BaseModel):
    """What the service says of a clip."""

    clip: ClipAbout
    lung_ultrasound: Likely
    biomarkers: Biomarkers | None
    experts: list[Experts]
    frames: FrameScores | None
    clip_scores: list[ClipScore]
    masks: Masks | None
    preview: Preview | None
    models: list[ModelAbout]
    timings_ms: dict[str, float]
    notice: str


class Models(BaseModel):
    """What is served now, what was refused and why, and what a request may cost."""

    models: list[ModelAbout]
    refused: list[str]
    limits: dict[str, float]


class Problem(BaseModel):
    """Why there is no result, in one line."""

    error: str
