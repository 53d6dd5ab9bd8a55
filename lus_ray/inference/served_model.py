"""A checkpoint that a service applies, and what is known about it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lus_ray.inference.schema import ModelCard
from lus_ray.runs.layout import CellFolder

ModelKind = Literal["backbone", "expert", "classifier", "frames", "aggregator", "segmenter"]


@dataclass(frozen=True)
class ModelReport:
    """Title, card, and the validation of the biomarkers of a backbone.

    `trained` marks the biomarkers with positive and negative training labels, `score` is the AUC of
    each; both are empty for other models.
    """

    title: str
    card: ModelCard
    trained: tuple[bool, ...] = ()
    score: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class ServedModel:
    """A checkpoint to serve.

    `id` is "<run>/<arm>", `folder` holds the checkpoint, `fingerprint` is its `hash_checkpoint`,
    `label` is what it predicts, `reads` the id of the model whose predictions it reads. `on_gpu`
    means that a GPU computed its stored predictions. `seed` numbers the training of its `fold`.
    `report` is that of `model_card`.
    """

    id: str
    run: str
    arm: str
    fold: int
    kind: ModelKind
    label: str
    folder: Path
    fingerprint: str
    reads: str | None = None
    on_gpu: bool = False
    seed: int = 0
    report: ModelReport | None = field(default=None, compare=False)

    @property
    def run_folder(self) -> Path:
        return self.folder.parents[3]

    @property
    def card(self) -> ModelCard | None:
        return None if self.report is None else self.report.card

    @property
    def predictions(self) -> Path:
        return CellFolder.at(self.folder.parent).predictions
