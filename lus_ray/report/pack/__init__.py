"""The reporting pack of a run: a model card and the items of TRIPOD+AI.

    <run>/pack/model_card.html, .md, .json
    <run>/pack/tripod_ai.html, .md, .json

It names no patient, no file and no path. What the run does not record is listed as open.
"""

from pathlib import Path

from lus_ray.errors import InputError
from lus_ray.evaluation.schema import ReportContents
from lus_ray.report import rendering
from lus_ray.report.blocks import Document
from lus_ray.report.pack import facts as run_facts
from lus_ray.report.pack import run_card, tripod
from lus_ray.runs import layout
from lus_ray.storage.files import write_text

FOLDER = layout.PACK
MODEL_CARD, TRIPOD = "model_card", "tripod_ai"


def write(contents: ReportContents, run: Path) -> Path:
    """Write the pack of a run with these report contents; returns its folder.

    Raises:
        InputError: the folder holds an external validation.
        StoreError: a file of the run is damaged.
    """
    if contents.evaluation_of is not None:
        raise InputError(f"{run}: is an evaluation; give its run, whose pack names it")
    facts = run_facts.gather(contents, run)
    answers = tripod.answer_all(facts)
    sections = run_card.describe(facts, answers)
    folder = run / FOLDER
    folder.mkdir(exist_ok=True)
    _write(folder, MODEL_CARD, run_card.compose(facts, sections), run_card.to_json(facts, sections))
    _write(folder, TRIPOD, tripod.compose(facts, answers), tripod.to_json(answers))
    return folder


def _write(folder: Path, name: str, document: Document, text: str) -> None:
    write_text(folder / f"{name}.html", rendering.render_html(document))
    write_text(folder / f"{name}.md", rendering.render_markdown(document))
    write_text(folder / f"{name}.json", text)
