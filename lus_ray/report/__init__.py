"""The report of a run folder, finished or not: numbers, tables and a page."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lus_ray.evaluation import report_json, results, schema
from lus_ray.report import compose, rendering, table_files, terminal
from lus_ray.report.blocks import Document
from lus_ray.runs import layout
from lus_ray.storage.files import write_text

__all__ = ["FILES", "RunReport", "write"]

FILES = layout.REPORTS


@dataclass(frozen=True)
class RunReport:
    out: Path
    contents: schema.ReportContents
    document: Document

    def text(self, *, width: int = terminal.WIDTH, colour: bool = False) -> str:
        return terminal.render(self.document, width=width, colour=colour)

    def json(self) -> str:
        return schema.to_json(self.contents, ascii_only=True)


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
    report = RunReport(out, contents, compose.compose(contents, arms, run))
    show(report)
    write_text(out / "report.json", schema.to_json(contents) + "\n")
    write_text(out / "report.md", rendering.render_markdown(report.document))
    write_text(out / "report.html", rendering.render_html(report.document))
    table_files.write(report.document, out / layout.TABLES)
    return report
