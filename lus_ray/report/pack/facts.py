"""Everything that the pack of a run is written from."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lus_ray.errors import LusError
from lus_ray.evaluation.schema import ReportContents
from lus_ray.experiment import TRIAL_SIZES
from lus_ray.report import conclusions
from lus_ray.report.pack import ingested, models, participants
from lus_ray.report.pack.ingested import IngestedSource
from lus_ray.report.pack.models import MainModel
from lus_ray.report.pack.participants import Participants
from lus_ray.runs import manifest
from lus_ray.runs.manifest import ArmRecord, RunRecord
from lus_ray.storage.files import read_text

EVALUATIONS = "evaluations"
REPORT = "report.json"


@dataclass(frozen=True)
class Evaluation:
    """An evaluation of the run on clips of another store; `contents` are those of its report."""

    name: str
    contents: Mapping[str, Any]

    @property
    def data(self) -> Mapping[str, Any]:
        return self.contents.get("data") or {}

    @property
    def sources(self) -> str:
        return ", ".join(self.data.get("sources") or {}) or "unnamed sources"


@dataclass(frozen=True)
class RunFacts:
    contents: ReportContents
    record: RunRecord
    sources: tuple[IngestedSource, ...]
    participants: Participants | None
    models: tuple[MainModel, ...]
    evaluations: tuple[Evaluation, ...]

    @cached_property
    def is_synthetic(self) -> bool:
        return conclusions.is_synthetic(self.record.data.sources)

    @cached_property
    def is_trial(self) -> bool:
        return self.contents.size in TRIAL_SIZES

    @cached_property
    def num_test_patients(self) -> int:
        return conclusions.num_test_patients(self.contents)

    @cached_property
    def labels(self) -> list[str]:
        return conclusions.order_labels(self.contents)

    @cached_property
    def main_arms(self) -> list[ArmRecord]:
        return [self.record.arm(name) for name in dict.fromkeys(m.name for m in self.models)]

    @cached_property
    def num_planned(self) -> int:
        """Cells of all arms that predict a label or make features."""
        return len(self.contents.arms) * len(self.contents.folds["sizes"]) * self.contents.seeds


def gather(contents: ReportContents, run: Path) -> RunFacts:
    record = manifest.read(run)
    return RunFacts(
        contents,
        record,
        ingested.read(record, run),
        participants.read(record, run),
        models.read(contents, record, run),
        _read_evaluations(run),
    )


def _read_evaluations(run: Path) -> tuple[Evaluation, ...]:
    """Evaluations with a report, by name; one that is not readable is left out."""
    found = []
    for path in sorted((run / EVALUATIONS).glob(f"*/{REPORT}")):
        try:
            contents = json.loads(read_text(path) or "")
        except (LusError, ValueError):
            continue
        if isinstance(contents, dict):
            found.append(Evaluation(path.parent.name, contents))
    return tuple(found)
