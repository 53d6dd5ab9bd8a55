"""The report of a run folder, finished or not: numbers, tables and a page."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from lus_ray.evaluation import report_json, results, schema
from lus_ray.evaluation.external import EXTERNAL, ExternalResults
from lus_ray.evaluation.external import measure as measure_external
from lus_ray.evaluation.results import RunResults
from lus_ray.evaluation.scored_arms import Arms
from lus_ray.report import compose, rendering, table_files, terminal
from lus_ray.report.blocks import Document
from lus_ray.report.external import page as external_page
from lus_ray.runs import layout, manifest
from lus_ray.storage.files import write_text

__all__ = ["FILES", "RunReport", "write"]

FILES = layout.REPORTS


@dataclass(frozen=True)
class RunReport:
    out: Path
    contents: schema.ReportContents
    document: Document
    external: ExternalResults | None = None
    """Of an external validation, what is measured beside the run."""

    def text(self, *, width: int = terminal.WIDTH, colour: bool = False) -> str:
        return terminal.render(self.document, width=width, colour=colour)

    def json(self) -> str:
        return self._to_json(ascii_only=True)

    def _to_json(self, *, ascii_only: bool) -> str:
        text = schema.to_json(self.contents, ascii_only=ascii_only)
        if self.external is None:
            return text
        more = EXTERNAL.dump_json(self.external, indent=1, ensure_ascii=ascii_only).decode()
        return f'{text.rstrip().removesuffix("}").rstrip()},\n "external": {more}\n}}'


def write(
    out: Path | str,
    *,
    num_draws: int = report_json.NUM_DRAWS,
    show: Callable[[RunReport], None] = lambda report: None,
) -> RunReport:
    """Write report.json, report.md, report.html and its tables into a run folder.

    `show` receives the report before anything is written, as the folder may be read-only.

    Raises:
        StoreError: the folder holds no run, or a file in it is damaged.
        FoldError: the folds are damaged, or a prediction tests patients that its fold does not.
    """
    out = Path(out)
    run = results.read(out)
    contents, arms = report_json.compute(run, num_draws=num_draws)
    if run.record.evaluation_of is None:
        report = RunReport(out, contents, compose.compose(contents, arms, run))
    else:
        report = _compose_evaluation(run, contents, arms, num_draws)
    show(report)
    write_text(out / "report.json", report._to_json(ascii_only=False) + "\n")
    write_text(out / "report.md", rendering.render_markdown(report.document))
    write_text(out / "report.html", rendering.render_html(report.document))
    table_files.write(report.document, out / layout.TABLES)
    return report


def _compose_evaluation(
    run: RunResults, contents: schema.ReportContents, arms: Arms, num_draws: int
) -> RunReport:
    """The report of an external validation, beside its run where that is still there."""
    folder = find_run(run)
    measured = measure_external(folder, run.out, num_draws=num_draws) if folder else None
    if measured:
        chosen = {label: measured.main.get(label, ()) for label in contents.highlights}
        kept = {
            label: tuple(arm.name for arm in contents.arms_of(label) if arm.name in names)
            for label, names in chosen.items()
        }
        highlights = {label: kept[label] or own for label, own in contents.highlights.items()}
        contents = replace(contents, highlights=highlights)
    document = external_page.compose(contents, arms, measured)
    return RunReport(run.out, contents, document, measured)


def find_run(run: RunResults) -> Path | None:
    """The folder of the run that was evaluated: around the evaluation, or where it was."""
    about = run.record.evaluation_of
    assert about is not None
    for folder in (*run.out.resolve().parents[1:2], Path(about.run)):
        if (folder / layout.MANIFEST).is_file():
            record = manifest.read(folder)
            same = record.experiment == run.record.experiment
            if same and record.data.fingerprint == about.fingerprint and not record.evaluation_of:
                return folder
    return None
