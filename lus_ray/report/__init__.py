"""The report: from a run directory to numbers, tables and a page.

`report.write(out)` reads nothing but the run directory, so a report can be made again wherever
the directory lies, while cells are still missing, and with the same numbers each time.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lus_ray.evaluation import report_json as contents
from lus_ray.evaluation import results
from lus_ray.report import html, markdown, terminal
from lus_ray.storage.files import write_text

__all__ = ["FILES", "Report", "write"]

FILES = ("report.html", "report.md", "report.json")


@dataclass(frozen=True)
class Report:
    """The contents of `report.json` and the folder that it is for."""

    out: Path
    contents: Mapping[str, Any]

    def text(self) -> str:
        """The best arms, the baselines and the claims, for a terminal of 100 columns."""
        return terminal.text(self.contents)


def write(
    out: Path | str,
    *,
    num_draws: int = contents.NUM_DRAWS,
    show: Callable[[Report], None] = lambda report: None,
) -> Report:
    """Write report.json, report.md and report.html into a run directory.

    It is given to `show` before, as not every directory can be written.

    Raises:
        StoreError: the folder is no run directory, or a file in it is damaged.
        FoldError: the folds are damaged, or a prediction tests patients that its fold does not.
    """
    out = Path(out)
    run = results.read(out)
    found, arms = contents.compute(run, num_draws=num_draws)
    report = Report(out, found)
    show(report)
    text = json.dumps(found, indent=1, allow_nan=False, ensure_ascii=False)
    write_text(out / "report.json", text + "\n")
    write_text(out / "report.md", markdown.markdown(found))
    write_text(out / "report.html", html.html(found, arms, run))
    return report
