"""Each domain in the page, in Markdown and in the terminal."""

import json
import re
from pathlib import Path

import pytest

from lus_ray import report
from lus_ray.evaluation import domains
from lus_ray.report import domain_tables
from tests.evaluation.domain_run import ARMS, OTHERS, SIFA, UNET, write_domain_run
from tests.evaluation.mask_run import write_pixel_run
from tests.evaluation.run_folders import slug_of
from tests.report.test_write import section, tags_of

FILES = ("report.json", "report.md", "report.html")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> report.RunReport:
    """The report of thirteen arms without a twin or a leak, one twin and one that leaks."""
    out = write_domain_run(tmp_path_factory.mktemp("run"), arms=[*ARMS, *OTHERS])
    return report.write(out, num_draws=50)


def test_a_table_has_both_spreads_and_the_paper(written: report.RunReport) -> None:
    covid, cap = written.contents.domains
    assert domain_tables.title(covid) == "B-line masks, covid (also A)"
    assert domain_tables.title(cap) == "B-line masks, cap"
    head, *rows = domain_tables.arm_table(covid)
    assert head[:4] == ["arm", "Dice, %", "paper, %", "Dice over patients, %"]
    assert head[4:] == ["sensitivity, %", "specificity, %", "images", "patients"]
    unet = next(row for row in rows if row[0] == "unet covid")
    spread = next(a for a in covid.arms if a.name == "unet covid").over_images["dice"]
    assert unet[1] == f"{100 * spread['mean']:.1f} ± {100 * spread['std']:.1f}"
    assert unet[2] == "60.0 ± 26.0"
    assert unet[-2:] == ["24", "6"]
    assert len(rows) == 15


def test_what_the_paper_prints_of_other_metrics_stands_with_them(tmp_path: Path) -> None:
    paper = {"unet covid": {"sensitivity_per_image, cap": [0.38, None]}}
    write_domain_run(tmp_path, arms=[UNET, SIFA], published=paper)
    found = report.write(tmp_path, num_draws=50)
    covid, cap = (domain_tables.arm_table(e)[1] for e in found.contents.domains)
    assert covid[2] == cap[2] == "–"
    assert "paper" not in covid[4]
    assert cap[4].endswith("; paper 38.0")
    assert "<small>paper 38.0</small>" in section(tmp_path, "domains")


def test_a_matrix_shows_twelve_arms_and_counts_them_all(written: report.RunReport) -> None:
    entry = written.contents.domains[0]
    matrices = domain_tables.matrices(entry)
    assert [matrix.title for matrix in matrices] == list(domain_tables.TITLES.values())
    for matrix in matrices:
        assert (len(matrix.names), len(matrix.rows), len(matrix.rows[0])) == (12, 12, 11)
        assert "place" not in matrix.names
        assert "Holm over 78 pairs" in matrix.meaning
        assert "those of place in report.json alone" in matrix.meaning
        for row, cells in enumerate(matrix.rows):
            assert all(text for text, _ in cells[:row])
            assert not any(text for text, _ in cells[row:])
    assert matrices[0].rows[1][0] == ("<0.001", True)
    assert "with 6 of them" in matrices[1].meaning
    assert "10,000 draws" in matrices[2].meaning


def test_all_arms_are_in_the_json_raw(written: report.RunReport) -> None:
    covid = json.loads((written.out / "report.json").read_text()).domains[0]
    assert len(covid.order) == 15
    for test in domains.TESTS:
        raw = covid.tests[test].raw
        assert sum(p is not None for row in raw for p in row) == 15 * 14


@pytest.mark.parametrize(
    ("p", "text"),
    [(0.0, "<0.001"), (0.0012, "0.001"), (0.0433, "0.043"), (0.234, "0.23"), (1.0, "1.00")],
)
def test_a_p_value_is_printed_as_papers_do(p: float, text: str) -> None:
    assert domain_tables.format_p(p) == text
    assert domain_tables.format_p(None) == "–"


def test_the_page_has_every_domain_with_three_matrices(written: report.RunReport) -> None:
    shown = section(written.out, "domains")
    assert shown.count("<table") == 2 * 4
    assert shown.count('<div class="scroll"><table') == 2 * 4
    assert "<td><strong>&lt;0.001</strong></td>" in shown
    assert "Paired t-test over patients, cap" in shown
    links = {attributes.get("href") for tag, attributes in tags_of(written.out) if tag == "a"}
    assert "#domains" in links
    assert "standard deviation over images" in section(written.out, "reading")


def test_markdown_has_the_same_numbers(written: report.RunReport) -> None:
    text = (written.out / "report.md").read_text()
    part = text[text.index("## Each domain") :].split("\n## ")[0]
    assert part.count("| p after Holm | 1 | 2 |") == 6
    assert re.search(r"\| 2 sifa covid→cap \| \*\*<0\.001\*\* \|", part)
    widths = {len(line.split("|")) for line in part.splitlines() if line.startswith("|")}
    assert widths == {8 + 2, 12 + 2}


def test_the_terminal_has_a_line_an_arm_and_counts_the_pairs(written: report.RunReport) -> None:
    lines = written.text().splitlines()
    assert max(map(len, lines[:-1])) <= 100
    [start] = [k for k, line in enumerate(lines) if line.startswith("B-line masks, cap")]
    titles = ["Dice", "paper", "patients", "sensitivity", "specificity"]
    assert lines[start].split()[-5:] == titles
    assert [line.split()[0] for line in lines[start + 1 : start + 3]] == ["place", "unet"]
    assert lines[start + 14].startswith(" pairs with p < 0.05 after Holm: images ")
    assert lines[start + 14].count(" of 78") == 3


def test_the_same_domains_give_the_same_bytes(written: report.RunReport) -> None:
    first = [(written.out / name).read_bytes() for name in FILES]
    report.write(written.out, num_draws=50)
    assert [(written.out / name).read_bytes() for name in FILES] == first


def test_what_could_not_be_tested_is_told(tmp_path: Path) -> None:
    write_domain_run(tmp_path, arms=[UNET, SIFA], numbers=[0], dice=alike)
    found = report.write(tmp_path, num_draws=50)
    cap = found.contents.domains[1]
    assert [matrix.rows[1][0][0] for matrix in domain_tables.matrices(cap)] == ["<0.001", "–", "–"]
    assert "<li>sifa covid→cap and unet covid: one patient</li>" in section(tmp_path, "domains")


def test_nothing_finished_and_one_arm_alone_have_no_matrix(tmp_path: Path) -> None:
    write_domain_run(tmp_path / "none", numbers=[])
    nothing = report.write(tmp_path / "none", num_draws=50)
    entry = domain_tables.entries(nothing.contents)[0]
    assert domain_tables.arm_table(entry)[1][1:4] == ["–", "–", "–"]
    assert domain_tables.count_significant(entry, "images") == (0, 0)
    write_domain_run(tmp_path / "one", arms=[UNET], claims=[])
    one = report.write(tmp_path / "one", num_draws=50)
    assert domain_tables.matrices(domain_tables.entries(one.contents)[0]) == []
    assert "p after Holm" not in (tmp_path / "one" / "report.html").read_text()


def test_a_run_of_one_domain_has_no_such_section(tmp_path: Path) -> None:
    out = write_pixel_run(tmp_path)
    found = report.write(out, num_draws=50)
    assert found.contents.domains == ()
    for name in FILES:
        assert "Each domain" not in (out / name).read_text()
    assert '"domains"' not in (out / "report.json").read_text()


def alike(name: str, patient: str, image: int) -> float:
    """The same gain of every arm but "unet covid" in every image."""
    return 0.5 if name == "unet covid" else 0.75


def test_losses_of_players_stand_two_by_two_behind_those_of_arms(tmp_path: Path) -> None:
    write_domain_run(tmp_path, arms=[UNET, SIFA])
    players = ("translator", "target_judge", "net")
    for path in (tmp_path / "cells" / slug_of(SIFA)).glob("fold*/metrics.jsonl"):
        epochs = [json.loads(line) for line in path.read_text().splitlines()]
        own = {f"train_{player}_loss": 0.5 for player in players} | {"train_net_cycle": 0.1}
        path.write_text("".join(json.dumps(epoch | own) + "\n" for epoch in epochs))
    report.write(tmp_path, num_draws=50)
    alts = re.findall(r'alt="(.*?)"', section(tmp_path, "training"))
    assert alts == [
        "Training of unet covid: train loss and val score",
        "Training of sifa covid→cap: train loss and val score",
        "Training of sifa covid→cap: train translator loss and train target judge loss",
        "Training of sifa covid→cap: train net loss and val score",
    ]
