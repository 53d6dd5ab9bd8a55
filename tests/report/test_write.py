"""The written report: whole, self-contained, escaped, and the same each time."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from lus_ray import report
from tests.evaluation.frame_run import FRAMES, LEAKY, write_frame_run, write_pictures
from tests.evaluation.mask_run import DENSE, UNET, write_outlines, write_pixel_run
from tests.evaluation.run_folders import arm, write_cell, write_run

EVIL = 'MLP <script>alert("x")</script> | on signs, severity'
CLAIM = {"text": "a < b", "metric": "auc", "better": EVIL, "than": "class prior"}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> report.RunReport:
    """The report of three arms of two labels, one cell missing."""
    out = tmp_path_factory.mktemp("run")
    prior = arm("class prior", baseline=True)
    signs = arm("signs", label="biomarkers", recipe={"epochs": 3})
    expert = arm(EVIL, reads="signs")
    write_run(out, [signs, prior, expert], claims=[CLAIM])
    for fold in range(3):
        write_cell(out, signs, fold, skill=0.3)
        write_cell(out, prior, fold, skill=0.0, seed=1)
        if fold < 2:
            write_cell(out, expert, fold, skill=0.6, seed=2)
    return report.write(out, num_draws=50)


@pytest.fixture(scope="module")
def framed(tmp_path_factory: pytest.TempPathFactory) -> report.RunReport:
    """The report of scores of frames and clips, with everything it can show."""
    out = tmp_path_factory.mktemp("frames")
    write_frame_run(out, supervision="weak")
    write_pictures(out, FRAMES, 0, heat=False)
    write_pictures(out, LEAKY, 0, heat=True)
    return report.write(out, num_draws=50)


@pytest.fixture(scope="module")
def outlined(tmp_path_factory: pytest.TempPathFactory) -> report.RunReport:
    """The report of masks of four schemes with a gap, a claim and pictures."""
    out = write_pixel_run(tmp_path_factory.mktemp("pixels"))
    write_outlines(out, UNET, 0, unsure=True)
    write_outlines(out, DENSE, 0)
    return report.write(out, num_draws=50)


class Tags(HTMLParser):
    """Every tag with its attributes, and whether opened tags are closed in order."""

    VOID = frozenset({"meta", "img", "br", "line"})

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def section(out: Path, name: str) -> str:
    """The HTML of one section of the page."""
    page = (out / "report.html").read_text()
    return page[page.index(f'<h2 id="{name}"') :].split("</section>")[0]


def tags_of(out: Path) -> list[tuple[str, dict[str, str | None]]]:
    parser = Tags()
    parser.feed((out / "report.html").read_text())
    assert parser.open == []
    return parser.tags


def test_the_page_refers_to_nothing_outside(found: report.RunReport) -> None:
    page = (found.out / "report.html").read_text()
    assert not re.search(r"https?:|//[a-z]|@import|url\(", re.sub(r"base64,[^\"]*", "", page))
    for tag, attributes in tags_of(found.out):
        assert tag not in ("script", "link", "iframe", "object")
        assert (attributes.get("src") or "data:").startswith("data:")
        assert (attributes.get("href") or "#").startswith("#")


def test_every_link_of_the_contents_leads_to_a_section(found: report.RunReport) -> None:
    tags = tags_of(found.out)
    targets = {attributes.get("id") for _, attributes in tags}
    links = [attributes["href"] or "" for tag, attributes in tags if tag == "a"]
    assert {link[1:] for link in links} <= targets
    assert "#severity" in links


def test_every_picture_has_a_text_in_its_place(found: report.RunReport) -> None:
    pictures = [attributes for tag, attributes in tags_of(found.out) if tag == "img"]
    assert len(pictures) > 5
    assert all(attributes["alt"] for attributes in pictures)


def test_arm_names_are_escaped(found: report.RunReport) -> None:
    assert "<script" not in (found.out / "report.html").read_text()
    assert "&lt;script&gt;" in (found.out / "report.html").read_text()
    rows = [line for line in (found.out / "report.md").read_text().splitlines() if "MLP" in line]
    assert any(r"\| on signs" in row for row in rows if row.startswith("|"))


def test_the_same_directory_gives_the_same_bytes(found: report.RunReport) -> None:
    names = ("report.json", "report.md", "report.html")
    first = [(found.out / name).read_bytes() for name in names]
    report.write(found.out, num_draws=50)
    assert [(found.out / name).read_bytes() for name in names] == first


def test_a_missing_cell_is_shown_everywhere(found: report.RunReport) -> None:
    assert "2 of 3 folds" in (found.out / "report.html").read_text()
    assert "2 of 3 folds" in (found.out / "report.md").read_text()
    assert "Cells missing: 1" in found.text()


def test_the_page_says_it_is_for_research_and_how_it_is_made_again(found: report.RunReport) -> None:
    page = (found.out / "report.html").read_text()
    assert "For research only." in page
    assert "lus run biomarkers --size smoke" in page
    assert "f" * 64 in page


def test_the_terminal_table_fits(found: report.RunReport) -> None:
    lines = found.text().splitlines()
    assert max(map(len, lines)) <= 100
    assert any("class prior" in line for line in lines)


def test_markdown_tables_have_one_width(found: report.RunReport) -> None:
    rows = [
        line for line in (found.out / "report.md").read_text().splitlines() if line.startswith("|")
    ]
    assert {len(re.split(r"(?<!\\)\|", row)) for row in rows} == {11}


def test_a_run_with_nothing_finished_has_a_report_too(tmp_path: Path) -> None:
    write_run(tmp_path, [arm("e2e"), arm("features", label=None)])
    found = report.write(tmp_path, num_draws=50)
    found = report.write(tmp_path, num_draws=50)
    assert "missing" in found.text()
    assert json.loads((tmp_path / "report.json").read_text()).arms[0].mean["auc"] is None
    assert len(tags_of(tmp_path)) > 20


def test_scores_of_frames_say_what_each_setting_is(framed: report.RunReport) -> None:
    shown = section(framed.out, "frame_severity")
    assert "<th>K = 1, %</th>" in shown
    assert "<dd>without the 7 frames before and the 7 after each change" in shown
    assert "Confusion matrices, test frames of all folds" in shown
    assert "test clips" in section(framed.out, "severity")
    markdown = (framed.out / "report.md").read_text()
    assert "- Setting 1: every test frame" in markdown


def test_arms_whose_patients_overlap_are_marked_everywhere(framed: report.RunReport) -> None:
    assert section(framed.out, "severity").count("patients overlap") == 1
    assert section(framed.out, "frame_severity").count("patients overlap") == 1
    assert "uninorm on all patients (patients overlap)" in (framed.out / "report.md").read_text()
    assert any(line.startswith(" †uninorm on all") for line in framed.text().splitlines())


def test_a_gap_is_told_in_all_three_forms(framed: report.RunReport) -> None:
    assert "weighted F1 +" in section(framed.out, "gaps")
    assert (
        "- **published protocol** (uninorm on all patients − uninorm): weighted F1 +"
        in (framed.out / "report.md").read_text()
    )
    [line] = [row for row in framed.text().splitlines() if row.startswith("published protocol")]
    assert line.startswith("published protocol: weighted F1 +")
    assert "leak-free twin" in framed.text()


def test_weak_supervision_is_a_warning_at_the_top(framed: report.RunReport) -> None:
    page = (framed.out / "report.html").read_text()
    assert "Weak supervision" in page[: page.index("<nav")]
    assert "Weak supervision" in framed.text()


def test_raters_elements_clips_and_pictures_have_their_sections(framed: report.RunReport) -> None:
    assert "uninorm (clip score)" in section(framed.out, "raters")
    assert "0.400 ± 0.082" in section(framed.out, "neutral")
    assert section(framed.out, "clips").count("<figcaption>") == 8
    assert section(framed.out, "looked").count("<img") == 4
    links = {attributes.get("href") for tag, attributes in tags_of(framed.out) if tag == "a"}
    assert {"#gaps", "#raters", "#neutral", "#clips", "#looked"} <= links


def test_the_terminal_table_of_frames_fits(framed: report.RunReport) -> None:
    assert max(map(len, framed.text().splitlines()[:-1])) <= 100


def test_the_same_frames_give_the_same_bytes(framed: report.RunReport) -> None:
    names = ("report.json", "report.md", "report.html")
    first = [(framed.out / name).read_bytes() for name in names]
    report.write(framed.out, num_draws=50)
    assert [(framed.out / name).read_bytes() for name in names] == first


def test_a_run_without_frames_has_none_of_their_sections(found: report.RunReport) -> None:
    ids = {attributes.get("id") for _, attributes in tags_of(found.out)}
    assert not ids & {"gaps", "raters", "neutral", "clips", "looked"}
    assert not {"Gaps", "Raters", "Clips"} & set(
        re.findall(r"## (\w+)", found.out.joinpath("report.md").read_text())
    )


def test_masks_have_tables_reliability_and_shares_but_no_roc(outlined: report.RunReport) -> None:
    shown = section(outlined.out, "dense_masks")
    assert "<th>A-line IoU, %</th>" in shown
    assert shown.count("predicted but not true scores 0") == 1
    assert "Reliability of pixels" in shown
    assert "ROC" not in shown
    assert "expected calibration error 1" in shown
    assert "Percent of the pixels of each true class" in shown
    assert '<small class="absent">selected on test,</small>' in shown
    assert "<summary>Single images, and calibration of their pixels</summary>" in shown
    assert "<td>72</td>" in shown
    links = {attributes.get("href") for tag, attributes in tags_of(outlined.out) if tag == "a"}
    assert {"#dense_masks", "#markers_masks", "#bline_masks", "#outlined", "#looked"} <= links


def test_published_overlap_stands_beside_its_own(outlined: report.RunReport) -> None:
    assert "<small>paper 75.0</small>" in section(outlined.out, "markers_masks")
    markdown = (outlined.out / "report.md").read_text()
    assert "; paper 75.0; Δ +" in markdown
    assert "- Empty classes: A class in neither" in markdown
    head = (
        "| arm | pixel accuracy, % | Dice, scores 1-3, % | categorical Dice, % | background Dice, %"
    )
    assert head in markdown
    assert "| images | expected calibration error, % |" in markdown


def test_outlines_are_shown_with_their_captions(outlined: report.RunReport) -> None:
    shown = section(outlined.out, "outlined")
    assert shown.count("<img") == shown.count("<figcaption>") == 4
    assert "Drawn by the models of fold 0." in shown
    assert section(outlined.out, "looked").count("<img") == 2


def test_a_gap_between_folds_of_images_and_of_patients_says_so(outlined: report.RunReport) -> None:
    assert "12 patients; each arm is the mean over its own folds" in section(outlined.out, "gaps")
    assert "patients; each arm is the mean over" in (outlined.out / "report.md").read_text()
    assert "random split over images: pixel accuracy +" in outlined.text()
    assert "protocol that leaks: images split at random, selected on test" in outlined.text()


def test_what_chose_the_epoch_is_told_of_arms_selected_on_test(
    outlined: report.RunReport, found: report.RunReport
) -> None:
    exception = "save for arms marked selected on test"
    assert exception in section(outlined.out, "training")
    assert exception not in section(found.out, "training")


def test_reports_of_masks_fit_the_terminal_and_come_back_alike(outlined: report.RunReport) -> None:
    assert max(map(len, outlined.text().splitlines()[:-1])) <= 100
    names = ("report.json", "report.md", "report.html")
    first = [(outlined.out / name).read_bytes() for name in names]
    report.write(outlined.out, num_draws=50)
    assert [(outlined.out / name).read_bytes() for name in names] == first
