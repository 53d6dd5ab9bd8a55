"""The report of a run folder, finished or not: numbers, tables and a page."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lus_ray.evaluation import report_json, results, schema
from lus_ray.report import html, markdown, terminal
from lus_ray.runs import layout
from lus_ray.storage.files import write_text

__all__ = ["FILES", "RunReport", "write"]

FILES = layout.REPORTS


@dataclass(frozen=True)
class RunReport:
    out: Path
    contents: schema.ReportContents

    def text(self) -> str:
        return terminal.render(self.contents)

    def json(self) -> str:
        return schema.to_json(self.contents, ascii_only=True)


def write(
    out: Path | str,
    *,
    num_draws: int = report_json.NUM_DRAWS,
    show: Callable[[RunReport], None] = lambda report: None,
) -> RunReport:
    """Write report.json, report.md and report.html into a run folder.

    `show` receives the report before anything is written, as the folder may be read-only.

    Raises:
        StoreError: the folder holds no run, or a file in it is damaged.
        FoldError: the folds are damaged, or a prediction tests patients that its fold does not.
    """
    out = Path(out)
    run = results.read(out)
    contents, arms = report_json.compute(run, num_draws=num_draws)
    report = RunReport(out, contents)
    show(report)
    write_text(out / "report.json", schema.to_json(contents) + "\n")
    write_text(out / "report.md", markdown.render(contents))
    write_text(out / "report.html", html.render(contents, arms, run))
    return report
