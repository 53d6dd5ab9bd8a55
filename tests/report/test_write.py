"""The written report: complete, self-contained, escaped, and the same each time."""

import json
import re
from pathlib import Path

import pytest

from lus_ray import report
from lus_ray.report import metric_names
from tests.evaluation.run_folders import arm, write_run
from tests.report.pages import read_links, read_section, read_tags

ALL = ("clip_report", "frame_report", "mask_report", "domain_report", "diagnosis_report")


@pytest.fixture(params=ALL)
def written(request: pytest.FixtureRequest) -> report.RunReport:
    found: report.RunReport = request.getfixturevalue(request.param)
    return found


def test_the_page_refers_to_nothing_outside(written: report.RunReport) -> None:
    page = (written.out / "report.html").read_text()
    assert not re.search(r"https?:|//[a-z]|@import|url\(", re.sub(r"base64,[^\"]*", "", page))
    tags = read_tags(written.out)
    for tag, attributes in tags:
        assert tag not in ("script", "link", "iframe", "object")
        assert (attributes.get("src") or "data:").startswith("data:")
        assert (attributes.get("href") or "#").startswith("#")
    assert all(attributes["alt"] for tag, attributes in tags if tag == "img")
    targets = {attributes.get("id") for _, attributes in tags}
    assert {link[1:] for link in read_links(written.out)} <= targets


def test_the_terminal_table_fits(written: report.RunReport) -> None:
    assert max(map(len, written.text().splitlines()[:-1])) <= 100


@pytest.mark.slow
@pytest.mark.parametrize("name", ["clip_report", "frame_report", "mask_report", "domain_report"])
def test_the_same_run_gives_the_same_bytes(name: str, request: pytest.FixtureRequest) -> None:
    out = request.getfixturevalue(name).out
    first = [(out / file).read_bytes() for file in report.FILES]
    report.write(out, num_draws=50)
    assert [(out / file).read_bytes() for file in report.FILES] == first


def test_names_are_escaped(clip_report: report.RunReport) -> None:
    assert "<script" not in (clip_report.out / "report.html").read_text()
    assert "&lt;script&gt;" in (clip_report.out / "report.html").read_text()
    lines = (clip_report.out / "report.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert any(r"\| on signs" in row for row in rows if "MLP" in row)
    assert {len(re.split(r"(?<!\\)\|", row)) for row in rows} == {11}


def test_a_missing_cell_is_shown_everywhere(clip_report: report.RunReport) -> None:
    assert "2 of 3 folds" in (clip_report.out / "report.html").read_text()
    assert "2 of 3 folds" in (clip_report.out / "report.md").read_text()
    assert "Cells missing: 1" in clip_report.text()
    assert any("class prior" in line for line in clip_report.text().splitlines())


def test_the_page_says_it_is_for_research_and_how_to_repeat_the_run(
    clip_report: report.RunReport,
) -> None:
    page = (clip_report.out / "report.html").read_text()
    for text in ("For research only.", "lus run biomarkers --size smoke", "f" * 64):
        assert text in page


def test_a_run_with_nothing_finished_has_a_report_too(tmp_path: Path) -> None:
    write_run(tmp_path, [arm("e2e"), arm("features", label=None)])
    found = report.write(tmp_path, num_draws=50)
    assert "missing" in found.text()
    contents = json.loads((tmp_path / "report.json").read_text())
    assert contents == json.loads(found.json())
    assert contents["arms"][0]["mean"]["auc"] is None
    assert len(read_tags(tmp_path)) > 20


def test_frame_scores_explain_each_setting(frame_report: report.RunReport) -> None:
    section = read_section(frame_report.out, "frame_severity")
    assert "<th>K = 1, %</th>" in section
    assert "<dd>without the 7 frames before and the 7 after each change" in section
    assert "Confusion matrices, test frames of all folds" in section
    assert "test clips" in read_section(frame_report.out, "severity")
    assert "- Setting 1: every test frame" in (frame_report.out / "report.md").read_text()


def test_arms_whose_patients_overlap_are_marked_everywhere(frame_report: report.RunReport) -> None:
    for label in ("severity", "frame_severity"):
        assert read_section(frame_report.out, label).count("patients overlap") == 1
    text = (frame_report.out / "report.md").read_text()
    assert "uninorm on all patients (patients overlap)" in text
    lines = frame_report.text().splitlines()
    assert any(line.startswith(" †uninorm on all") for line in lines)


def test_a_gap_is_in_all_three_forms(frame_report: report.RunReport) -> None:
    assert "weighted F1 +" in read_section(frame_report.out, "gaps")
    line = "- **published protocol** (uninorm on all patients − uninorm): weighted F1 +"
    assert line in (frame_report.out / "report.md").read_text()
    lines = frame_report.text().splitlines()
    assert any(line.startswith("published protocol: weighted F1 +") for line in lines)


def test_weak_supervision_is_a_warning_at_the_top(frame_report: report.RunReport) -> None:
    page = (frame_report.out / "report.html").read_text()
    assert "Weak supervision" in page[: page.index("<nav")]
    assert "Weak supervision" in frame_report.text()


def test_raters_elements_clips_and_pictures_have_their_sections(
    frame_report: report.RunReport, clip_report: report.RunReport
) -> None:
    out = frame_report.out
    assert "uninorm (clip score)" in read_section(out, "raters")
    assert "0.400 ± 0.082" in read_section(out, "neutral")
    assert read_section(out, "clips").count("<figcaption>") == 8
    assert read_section(out, "attention").count("<img") == 4
    anchors = {"#gaps", "#raters", "#neutral", "#clips", "#attention"}
    assert anchors <= read_links(out)
    assert not anchors & read_links(clip_report.out)
    titles = re.findall(r"## (\w+)", (clip_report.out / "report.md").read_text())
    assert not {"Gaps", "Raters", "Clips"} & set(titles)


def test_masks_have_tables_reliability_and_shares_but_no_roc(mask_report: report.RunReport) -> None:
    section = read_section(mask_report.out, "dense_masks")
    for text in (
        "<th>A-line IoU, %</th>",
        "Reliability of pixels",
        "expected calibration error 1",
        "Percent of the pixels of each true class",
        '<small class="absent">selected on test,</small>',
        "<summary>Single images, and calibration of their pixels</summary>",
        "<td>72</td>",
    ):
        assert text in section
    assert section.count("predicted but not true scores 0") == 1
    assert "ROC" not in section
    anchors = {"#dense_masks", "#markers_masks", "#bline_masks", "#masks", "#attention"}
    assert anchors <= read_links(mask_report.out)


def test_published_scores_stand_beside_those_of_the_run(mask_report: report.RunReport) -> None:
    assert "<small>paper 75.0</small>" in read_section(mask_report.out, "markers_masks")
    text = (mask_report.out / "report.md").read_text()
    for line in (
        "; paper 75.0; Δ +",
        "- Empty classes: A class in neither",
        "| arm | pixel accuracy, % | Dice, scores 1-3, % | categorical Dice, % | background",
        "| images | expected calibration error, % |",
    ):
        assert line in text


def test_pictures_of_masks_have_captions(mask_report: report.RunReport) -> None:
    section = read_section(mask_report.out, "masks")
    assert section.count("<img") == section.count("<figcaption>") == 4
    assert "models of fold 0" in section
    assert read_section(mask_report.out, "attention").count("<img") == 2


def test_a_gap_between_folds_of_images_and_of_patients_says_so(
    mask_report: report.RunReport,
) -> None:
    note = "12 patients; each arm is averaged over its own folds"
    assert note in read_section(mask_report.out, "gaps")
    assert note in (mask_report.out / "report.md").read_text()
    assert "random split over images: pixel accuracy +" in mask_report.text()
    assert re.search(
        "protocol that leaks: images .* at random, selected on test", mask_report.text()
    )


def test_the_page_says_what_chose_the_epoch(
    mask_report: report.RunReport, clip_report: report.RunReport
) -> None:
    exception = "except for arms marked selected on test"
    assert exception in read_section(mask_report.out, "training")
    assert exception not in read_section(clip_report.out, "training")


def test_frames_come_first_with_the_paper_beside_them_and_clips_in_a_table_of_their_own(
    diagnosis_report: report.RunReport,
) -> None:
    tables = metric_names.tables(diagnosis_report.contents, "diagnosis")
    for file, title, first in (
        ("report.md", "\n{}:\n", "| 82.4 |"),
        ("report.html", "<h3>{}</h3>", "paper 82.4"),
    ):
        text = (diagnosis_report.out / file).read_text()
        frames, classes, clips = (text.index(title.format(name)) for name, _ in tables)
        assert frames < text.index(first) < classes < text.index("paper 79.5") < clips
