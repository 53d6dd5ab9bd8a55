"""The sections of an external test, from one measured run."""

from dataclasses import replace

import pytest

from lus_ray.evaluation import external
from lus_ray.experiment import Claim
from lus_ray.figures import charts
from lus_ray.report import rendering, subgroup_tables, table_files
from lus_ray.report.blocks import Details, Document, Forest, Paragraph, Pictures, Table
from lus_ray.report.external import section as external_section
from lus_ray.report.external.shifts import LEAKS
from lus_ray.report.external.tables import sections as external_sections
from lus_ray.runs.manifest import ArmRecord, RunRecord
from tests.evaluation.external.external_run import NET, PRIOR, write_external


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folders = write_external(tmp_path_factory.mktemp("tables"), entries=(PRIOR, NET))
    return external.measure(*folders, num_draws=20)


@pytest.fixture(autouse=True, scope="module")
def _no_charts():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(charts, "render_svg", lambda draw, **settings: "<svg></svg>")
        yield


@pytest.fixture(scope="module")
def sections(measured):
    return {own.title: own for own in external_sections(measured)}


def tables(blocks):
    return [block for block in blocks if isinstance(block, Table)]


def row(table, name):
    cells = next(cells for cells in table.rows if cells[0].text == name)
    return dict(zip(table.columns, cells, strict=True))


def test_every_measure_has_a_section_and_only_main_arms_are_not_folded(sections):
    assert list(sections) == [
        "Internal and external", "Calibration", "Prediction sets", "Subgroups", "Decision curve",
    ]  # fmt: skip
    folded = [
        block.summary
        for section in sections.values()
        for block in section.blocks
        if isinstance(block, Details)
    ]
    assert "All metrics of 2 arms, severity" in folded
    assert "All groups of 2 arms, severity" in folded


def test_both_sides_stand_beside_their_difference(measured, sections):
    own = next(arm for arm in measured.shifts if arm.name == "net").metrics["auc"]
    cells = row(tables(sections["Internal and external"].blocks)[0], "net")
    assert cells["Internal"].numbers[""] == pytest.approx(100 * own.internal.value)
    assert cells["External"].text.startswith(f"{100 * own.external.value:.1f} [")
    assert cells["External − internal"].text[0] in "+-"
    assert cells["External patients"].text == "30"


def test_a_temperature_of_few_patients_says_so(measured, sections):
    values = [
        t.value for t in next(a for a in measured.calibration if a.name == "net").temperatures
    ]
    cell = row(tables(sections["Calibration"].blocks)[0], "net")["Temperature"]
    assert cell.text == f"{min(values):.2f} to {max(values):.2f}"
    assert cell.remarks == ("from only 4 patients",)


def test_coverage_below_its_nominal_level_is_marked(measured):
    arm = next(own for own in measured.sets if own.name == "net")
    low = replace(arm.external[0].coverage, value=0.7, interval=(0.6, 0.8))
    short = replace(arm, external=(replace(arm.external[0], coverage=low), *arm.external[1:]))
    section = external_sections(replace(measured, sets=(short,)))[2]
    cells = row(tables(section.blocks)[0], "net")
    assert (cells["Coverage, external"].text, cells["Coverage, external"].tone) == (
        "70.0 [60.0, 80.0]", "worse",
    )  # fmt: skip
    assert section.blocks[-2].text.startswith("Sets of 90 % need at least 9 validation patients.")
    assert "4 validation patients moves coverage by about ± 24 points" in section.blocks[-1].text


def test_small_groups_are_named_below_the_plot_and_are_not_drawn(measured):
    arm = next(own for own in measured.subgroups if own.name == "net")
    plot = subgroup_tables.forest(arm)
    assert isinstance(plot, Forest)
    assert [title for title, _ in plot.groups] == ["AUC of net by sex", "By age", "By site"]
    drawn = [own.name for _, rows in plot.groups for own in rows]
    assert "large (14 patients)" in drawn
    assert "not known (13 patients)" in drawn
    assert "fewer than 10 patients: age ≥ 65 (7), site small (3)." in plot.caption


def test_the_arm_of_the_first_view_is_the_best_on_internal_clips(measured, sections):
    internal = {
        own.name: own.metrics["auc"].internal.value
        for own in measured.shifts
        if own.label == "severity"
    }
    first = next(b for b in sections["Subgroups"].blocks if isinstance(b, Forest))
    assert first.groups[0][0] == f"AUC of {max(internal, key=internal.get)} by sex"


def test_a_decision_curve_has_a_panel_per_question_and_a_key_with_acting_on_all(sections):
    pictures = next(b for b in sections["Decision curve"].blocks if isinstance(b, Pictures))
    assert len(pictures.items) == 3
    assert [name for name, _ in pictures.key] == ["class prior", "net", "acting on all clips"]


def test_a_label_without_external_clips_is_named(measured):
    empty = tuple(replace(own, num_external=0) for own in measured.shifts)
    section = external_sections(replace(measured, shifts=empty))[0]
    texts = [own.text for own in section.blocks]
    assert "No external clip is annotated with severity." in texts


def test_the_sections_are_written_in_every_format(sections, tmp_path):
    document = Document("External test", (), tuple(sections.values()))
    page, text = rendering.render_html(document), rendering.render_markdown(document)
    for name in ("Prediction sets", "Not guaranteed", "Gaps between groups, net"):
        assert name in page
        assert name in text
    table_files.write(document, tmp_path)
    lines = (tmp_path / "external_severity.csv").read_text().splitlines()
    assert lines[0].startswith("Arm,Internal,Internal low,Internal high,External,")
    assert len(lines) == 3


def test_a_label_without_a_score_on_both_sides_is_named(measured):
    shifts = tuple(replace(own, metrics={}) for own in measured.shifts)
    (first, *_) = external_sections(replace(measured, shifts=shifts))
    assert first.blocks[0].text == "No arm has a score of severity on both sides."


def test_an_arm_that_leaks_is_marked_and_is_not_the_first_view(measured):
    shifts = tuple(
        replace(own, leak="patients overlap") if own.name == "net" else own
        for own in measured.shifts
    )
    sections = {own.title: own for own in external_sections(replace(measured, shifts=shifts))}
    blocks = sections["Internal and external"].blocks
    table = tables(blocks)[0]
    remarks = {cells[0].text: cells[0].remarks for cells in table.rows}
    assert remarks == {"class prior": (), "net": ("patients overlap",)}
    assert any(own == Paragraph(LEAKS) for own in blocks)
    first = next(b for b in sections["Subgroups"].blocks if isinstance(b, Forest))
    assert first.groups[0][0] == "AUC of class prior by sex"


@pytest.mark.parametrize(
    ("label", "listed"), [("severity", {"net", "class prior"}), ("sex", {"class prior"})]
)
def test_the_report_of_a_run_shows_main_arms_and_those_that_claims_compare(measured, label, listed):
    few = replace(measured, main={"severity": ("class prior",)})
    arms = (ArmRecord(name="class prior", label="severity"), ArmRecord(name="net", label=label))
    record = RunRecord(experiment="x", arms=arms, claims=(Claim("t", "auc", "net", "class prior"),))
    (table,) = external_section.tabulate_arms("other", few, record)
    assert {cells[0].text for cells in table.rows} == listed
