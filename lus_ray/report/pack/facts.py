"""Everything that the pack of a run is written from."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lus_ray.evaluation.external.schema import ArmSubgroups
from lus_ray.evaluation.schema import ReportContents
from lus_ray.experiment import TRIAL_SIZES
from lus_ray.report import conclusions
from lus_ray.report.pack import evaluations, ingested, models, participants
from lus_ray.report.pack.evaluations import Evaluation
from lus_ray.report.pack.ingested import IngestedSource
from lus_ray.report.pack.models import MainModel
from lus_ray.report.pack.participants import Participants
from lus_ray.runs import manifest
from lus_ray.runs.manifest import ArmRecord, RunRecord


@dataclass(frozen=True)
class RunFacts:
    contents: ReportContents
    record: RunRecord
    sources: tuple[IngestedSource, ...]
    participants: Participants | None
    models: tuple[MainModel, ...]
    evaluations: tuple[Evaluation, ...]
    groups: tuple[ArmSubgroups, ...]

    @cached_property
    def is_synthetic(self) -> bool:
        return conclusions.is_synthetic(self.record.data.sources)

    @cached_property
    def has_patients(self) -> bool:
        """Whether any clip, of the run or of an evaluation, may be of a real patient."""
        external = [conclusions.is_synthetic(e.data.get("sources") or {}) for e in self.evaluations]
        return not (self.is_synthetic and all(external))

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


def gather(contents: ReportContents, run: Path) -> RunFacts:
    record = manifest.read(run)
    return RunFacts(
        contents,
        record,
        ingested.read(record, run),
        participants.read(record, run),
        models.read(contents, record, run),
        evaluations.read(run),
        evaluations.measure_groups(contents, run),
    )
