import json
import re

import pytest

from lus_ray import report
from lus_ray.report import html, metric_names
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
    assert max(map(len, written.text().splitlines()[:-1])) <= 100


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
    monkeypatch.setattr(html, "NUM_TRAINING", 1)
    out, written = request.getfixturevalue(name).out, []
    for _ in range(2):
        write(out)
        written.append([(out / file).read_bytes() for file in report.FILES])
    assert written[0] == written[1]


def test_names_are_escaped(clip_report):
    assert "<script" not in (clip_report.out / "report.html").read_text()
    lines = (clip_report.out / "report.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert any(r"\| on signs" in row for row in rows if "MLP" in row)
    assert {len(re.split(r"(?<!\\)\|", row)) for row in rows} == {11}


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
    "terminal": lambda written: written.text(),
}


@pytest.mark.parametrize(
    ("fixture", "place", "texts"),
    [
        ("frame_report", "frame_severity", ["<th>K = 1, %</th>", "<dd>without the 7 frames before "
         "and the 7 after each change", "Confusion matrices, test frames of all folds"]),
        ("frame_report", "severity", ["test clips"]),
        ("frame_report", "markdown", ["- Setting 1: every test frame",
         "uninorm on all patients (patients overlap)",
         "- **published protocol** (uninorm on all patients − uninorm): weighted F1 +"]),
        ("frame_report", "terminal", ["\n †uninorm on all", "\npublished protocol: weighted F1 +",
         "Weak supervision"]),
        ("frame_report", "top", ["Weak supervision"]),
        ("frame_report", "gaps", ["weighted F1 +"]),
        ("frame_report", "raters", ["uninorm (clip score)"]),
        ("frame_report", "neutral", ["0.400 ± 0.082"]),
        ("mask_report", "dense_masks", ["<th>A-line IoU, %</th>", "Reliability of pixels",
         "expected calibration error 1", "Percent of the pixels of each true class",
         '<small class="absent">selected on test,</small>', "<td>72</td>",
         "<summary>Single images, and calibration of their pixels</summary>"]),
        ("mask_report", "markers_masks", ["<small>paper 75.0</small>"]),
        ("mask_report", "markdown", ["; paper 75.0; Δ +", "- Empty classes: A class in neither",
         "| images | expected calibration error, % |", "| arm | pixel accuracy, % | Dice, scores "
         "1-3, % | categorical Dice, % | background",
         "12 patients; each arm is averaged over its own folds"]),
        ("mask_report", "gaps", ["12 patients; each arm is averaged over its own folds"]),
        ("mask_report", "terminal", ["random split over images: pixel accuracy +",
         "at random, selected on test"]),
        ("mask_report", "masks", ["models of fold 0"]),
        ("mask_report", "training", ["except for arms marked selected on test"]),
        ("clip_report", "markdown", ["2 of 3 folds"]),
        ("clip_report", "terminal", ["Cells missing: 1", "class prior"]),
        ("clip_report", "page", ["2 of 3 folds", "For research only.", "f" * 64,
         "lus run biomarkers --size smoke", "&lt;script&gt;"]),
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
        (frame_report, "clips", "<figcaption>", 8),
        (frame_report, "attention", "<img", 4),
        (frame_report, "severity", "patients overlap", 1),
        (frame_report, "frame_severity", "patients overlap", 1),
        (mask_report, "masks", "<img", 4),
        (mask_report, "masks", "<figcaption>", 4),
        (mask_report, "attention", "<img", 2),
        (mask_report, "dense_masks", "predicted but not true scores 0", 1),
        (mask_report, "dense_masks", "ROC", 0),
        (clip_report, "training", "except for arms marked selected on test", 0),
    ):
        assert read_section(written.out, anchor).count(tag) == number, anchor
    anchors = {"#gaps", "#raters", "#neutral", "#clips", "#attention"}
    assert anchors <= read_links(frame_report.out)
    assert not anchors & read_links(clip_report.out)
    masks = {"#dense_masks", "#markers_masks", "#bline_masks", "#masks", "#attention"}
    assert masks <= read_links(mask_report.out)
    titles = re.findall(r"## (\w+)", (clip_report.out / "report.md").read_text())
    assert not {"Gaps", "Raters", "Clips"} & set(titles)


def test_frames_come_first_with_the_paper_beside_them_and_clips_in_a_table_of_their_own(
    diagnosis_report,
):
    tables = metric_names.tables(diagnosis_report.contents, "diagnosis")
    for file, title, first in (
        ("report.md", "\n{}:\n", "| 82.4 |"),
        ("report.html", "<h3>{}</h3>", "paper 82.4"),
    ):
        text = (diagnosis_report.out / file).read_text()
        frames, classes, clips = (text.index(title.format(name)) for name, _ in tables)
        assert frames < text.index(first) < classes < text.index("paper 79.5") < clips
