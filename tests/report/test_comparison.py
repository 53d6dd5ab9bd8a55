import json
from dataclasses import replace

import pytest

from lus_ray.errors import InputError
from lus_ray.report import comparison, terminal
from lus_ray.runs.layout import TABLES
from tests.evaluation.run_folders import arm, write_cell, write_run
from tests.report.conftest import HOSTILE


@pytest.fixture
def runs(clip_report):
    """The same run twice; the second is larger and has one arm less."""
    one = clip_report.contents
    arms = tuple(row for row in one.arms if row.name != HOSTILE)
    data = one.data | {"clips": 400, "patients": 100}
    return {"small": one, "large": replace(one, size="laptop", data=data, arms=arms)}


def test_runs_stand_side_by_side_with_what_differs(runs):
    document = comparison.compose(runs)
    facts, severity, *_ = document.tables()
    assert facts.columns == ("Fact", "small", "large")
    assert ["clips", "48", "400"] in [[cell.text for cell in row] for row in facts.rows]
    assert severity.columns == ("Arm", "small", "large")
    assert severity.rows[-1][2].text == "not run"
    text = " ".join(terminal.render(document).split())
    assert "differ in size smoke and laptop; clips 48 and 400; patients 24 and 100; arms" in text
    assert max(map(len, terminal.render(document).splitlines())) <= 80


def test_the_comparison_is_written_as_page_text_and_tables(runs, tmp_path):
    page = comparison.write(comparison.compose(runs), tmp_path / "out")
    assert "<script" not in page.read_text()
    assert "400" in (tmp_path / "out" / "report.md").read_text()
    assert (tmp_path / "out" / TABLES / "runs.csv").is_file()
    assert set(json.loads(comparison.to_json(runs))) == {"small", "large"}


def test_runs_of_two_studies_and_a_run_folder_as_target_are_refused(runs, tmp_path):
    for name, study in (("a", "biomarkers"), ("b", "video_scores")):
        write_run(tmp_path / name, [arm("one")], experiment=study)
        write_cell(tmp_path / name, arm("one"), 0)
    with pytest.raises(InputError, match="b: a run of video_scores, but a is one of biomarkers"):
        comparison.read({name: tmp_path / name for name in "ab"})
    with pytest.raises(InputError, match="holds a run; choose another --out"):
        comparison.write(comparison.compose(runs), tmp_path / "a")
