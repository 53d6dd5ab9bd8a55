"""Evaluations of a run on clips of other stores, and the scores of its groups of patients."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lus_ray.errors import LusError
from lus_ray.evaluation import external
from lus_ray.evaluation.external import EXTERNAL, ExternalResults
from lus_ray.evaluation.external.schema import ArmSubgroups
from lus_ray.evaluation.schema import ReportContents
from lus_ray.report import conclusions
from lus_ray.storage.files import read_text

EVALUATIONS = "evaluations"
REPORT = "report.json"


@dataclass(frozen=True)
class Evaluation:
    """One evaluation folder; `measured` is None where its report stands without the run."""

    name: str
    data: Mapping[str, Any]
    num_left_out: int
    num_clips: int
    measured: ExternalResults | None

    @property
    def sources(self) -> str:
        return ", ".join(self.data.get("sources") or {}) or "unnamed sources"


def read(run: Path) -> tuple[Evaluation, ...]:
    """Evaluations with a report, by name; one that is not readable is left out."""
    found = []
    for path in sorted((run / EVALUATIONS).glob(f"*/{REPORT}")):
        try:
            contents = json.loads(read_text(path) or "")
            about = contents.get("evaluation_of") or {}
            measured = contents.get("external")
            found.append(
                Evaluation(
                    path.parent.name,
                    contents.get("data") or {},
                    len(about.get("left_out") or ()),
                    about.get("num_clips") or 0,
                    measured and EXTERNAL.validate_python(measured),
                )
            )
        except (LusError, ValueError, ValidationError, AttributeError):
            continue
    return tuple(found)


def measure_groups(contents: ReportContents, run: Path) -> tuple[ArmSubgroups, ...]:
    """The test patients of the run by group, for the best model of each label."""
    best = {
        label: [arm.name]
        for label in conclusions.order_labels(contents)
        if (arm := conclusions.leading_arm(contents, label))
    }
    return external.subgroups_of_run(run, best, num_draws=contents.num_draws) if best else ()
