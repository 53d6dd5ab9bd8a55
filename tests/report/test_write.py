import json
import re

import pytest

from lus_ray import report
from lus_ray.report import metric_names, pictures
from tests.evaluation.run_folders import arm, write_run
from tests.report.conftest import write_without_charts
from tests.report.pages import read_links, read_section, read_tags

ALL = ("clip_report", "frame_report", "mask_report", "domain_report", "diagnosis_report")


@pytest.fixture(params=ALL)
def written(request):
    return request.getfixturevalue(request.param)


@pytest.mark.slow
def test_the_page_refers_to_nothing_outside(written):
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


def test_the_terminal_table_fits(written):
    assert max(map(len, written.text().splitlines())) <= 80
    assert "\x1b[" not in written.text()
    assert "\x1b[" in written.text(colour=True)


def write_with_charts(out):
    report.write(out, num_draws=20)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("frame_report", write_without_charts),
        pytest.param("diagnosis_report", write_with_charts, marks=pytest.mark.slow),
        pytest.param("mask_report", write_with_charts, marks=pytest.mark.full),
        pytest.param("frame_report", write_with_charts, marks=pytest.mark.full),
    ],
)
def test_the_same_run_gives_the_same_bytes(name, write, request, monkeypatch):
    monkeypatch.setattr(pictures, "NUM_TRAINING", 1)
    out, written = request.getfixturevalue(name).out, []
    for _ in range(2):
        write(out)
        files = sorted(path for path in out.rglob("*") if path.is_file())
        written.append({path: path.read_bytes() for path in files})
    assert written[0] == written[1]


def test_names_are_escaped(clip_report):
    assert "<script" not in (clip_report.out / "report.html").read_text()
    lines = (clip_report.out / "report.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith("|") and "MLP" in line]
    assert any(r"\| on signs" in row for row in rows)
    tables = (block.columns for block in clip_report.document.tables())
    widths = {len(columns) + 2 for columns in tables}
    assert {len(re.split(r"(?<!\\)\|", row)) for row in rows} <= widths
    assert r"\textbar{} on signs" in (clip_report.out / "tables/main_severity.tex").read_text()


def test_a_run_with_nothing_finished_has_a_report_too(tmp_path):
    write_run(tmp_path, [arm("e2e"), arm("features", label=None)])
    written = write_without_charts(tmp_path)
    assert "missing" in written.text()
    contents = json.loads((tmp_path / "report.json").read_text())
    assert contents == json.loads(written.json())
    assert contents["arms"][0]["mean"]["auc"] is None
    assert len(read_tags(tmp_path)) > 20


PLACES = {
    "markdown": lambda written: (written.out / "report.md").read_text(),
    "page": lambda written: (written.out / "report.html").read_text(),
    "top": lambda written: (written.out / "report.html").read_text().partition("<nav")[0],
    "terminal": lambda written: " ".join(written.text().split()),
}


@pytest.mark.parametrize(
    ("fixture", "place", "texts"),
    [
        ("frame_report", "results", ["<th scope=\"col\">K = 1</th>", "<dd>without the 7 frames "
         "before and the 7 after each change", "patients overlap"]),
        ("frame_report", "details", ["Confusion matrices, test frames of all folds",
         "uninorm (clip score)", "0.400 ± 0.082"]),
        ("frame_report", "markdown", ["- Setting 1: every test frame",
         "uninorm on all patients (patients overlap)",
         "- published protocol (uninorm on all patients − uninorm): weighted F1 +"]),
        ("frame_report", "terminal", ["uninorm on all", "overlap)",
         "- published protocol (uninorm on all patients − uninorm): weighted F1 +",
         "Weak supervision"]),
        ("frame_report", "top", ["Weak supervision"]),
        ("frame_report", "gaps", ["weighted F1 +"]),
        ("mask_report", "results", ["<th scope=\"col\">A-line IoU, %</th>", "class=\"\">72</td>",
         "<small>selected on test,</small>", "<small>paper 75.0</small>",
         "Single images, and calibration of their pixels"]),
        ("mask_report", "details", ["Reliability of pixels", "percent of the pixels of each true",
         "except for arms marked selected on test"]),
        ("mask_report", "markdown", ["; paper 75.0", "- Empty classes: A class in neither",
         "| Images | Expected calibration error, % |",
         "12 patients; each arm is averaged over its own folds"]),
        ("mask_report", "gaps", ["12 patients; each arm is averaged over its own folds"]),
        ("mask_report", "terminal", ["random split over images (", "selected on test"]),
        ("mask_report", "clips", ["models of fold 0", "Where the network looks"]),
        ("clip_report", "markdown", ["2 of 3 folds", "**Data.** 48 synthetic clips"]),
        ("clip_report", "terminal", ["Cells missing: 1", "class prior", "Finding: For severity"]),
        ("clip_report", "page", ["2 of 3 folds", "For research only.", "f" * 64,
         "lus run biomarkers --size smoke", "&lt;script&gt;", "verdict not\">not tested"]),
        ("clip_report", "top", ["<dt>Finding</dt>", "48 synthetic clips", "lus_ray 0.1.0",
         "<span>class prior</span>"]),
    ],
)  # fmt: skip
def test_a_fact_stands_where_readers_look_for_it(fixture, place, texts, request):
    written = request.getfixturevalue(fixture)
    shown = PLACES[place](written) if place in PLACES else read_section(written.out, place)
    assert [text for text in texts if text not in shown] == []


def test_sections_have_their_pictures_and_only_what_there_is_to_show(
    frame_report, clip_report, mask_report
):
    for written, anchor, tag, number in (
        (frame_report, "clips", "<figcaption>", 8 + 4),
        (mask_report, "clips", "<img", 4 + 2),
        (mask_report, "results", "predicted but not true scores 0", 4),
        (mask_report, "details", "ROC curves", 0),
        (clip_report, "details", "except for arms marked selected on test", 0),
    ):
        assert read_section(written.out, anchor).count(tag) == number, (anchor, tag)
    assert {"#gaps", "#clips"} <= read_links(frame_report.out)
    assert not {"#gaps", "#clips", "#experts"} & read_links(clip_report.out)


def test_frames_come_first_with_the_paper_beside_them_and_clips_in_a_table_of_their_own(
    diagnosis_report,
):
    tables = metric_names.tables(diagnosis_report.contents, "diagnosis")
    for file, title in (("report.md", "**{}**\n"), ("report.html", "<h3>{}</h3>")):
        text = (diagnosis_report.out / file).read_text().partition("All metrics of")[2]
        frames, classes, clips = (text.index(title.format(name)) for name, _ in tables)
        assert frames < text.index("paper 82.4") < classes < text.index("paper 79.5") < clips
