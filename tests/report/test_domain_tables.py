import json
import re

from lus_ray import report
from lus_ray.report import domain_tables
from tests.evaluation.domain_run import SIFA, UNET, write_domain_run
from tests.evaluation.run_folders import compute, slug_of
from tests.report.conftest import write_without_charts
from tests.report.pages import read_links, read_section


def test_a_table_has_both_spreads_and_the_paper(domain_report):
    covid, cap = domain_report.contents.domains
    assert domain_tables.title(covid) == "B-line masks, covid (also A)"
    assert domain_tables.title(cap) == "B-line masks, cap"
    assert len(covid.order) == len(covid.tests["images"].raw) == 15
    head, *rows = domain_tables.arm_table(covid)
    assert head[:4] == ["arm", "Dice, %", "paper, %", "Dice over patients, %"]
    assert head[4:] == ["sensitivity, %", "specificity, %", "images", "patients"]
    unet = next(row for row in rows if row[0] == "unet covid")
    spread = next(arm for arm in covid.arms if arm.name == "unet covid").over_images["dice"]
    assert unet[1:3] == [f"{100 * spread.mean:.1f} ± {100 * spread.std:.1f}", "60.0 ± 26.0"]
    assert unet[-2:] == ["24", "6"]
    assert len(rows) == 15


def test_published_scores_stand_beside_theirs_and_losses_of_adversarial_networks_in_pairs(tmp_path):
    paper = {"unet covid": {"sensitivity_per_image, cap": [0.38, None]}}
    write_domain_run(tmp_path, arms=[UNET, SIFA], published=paper)
    networks = ("generator", "target_discriminator", "net")
    for path in (tmp_path / "cells" / slug_of(SIFA)).glob("fold*/metrics.jsonl"):
        epochs = [json.loads(line) for line in path.read_text().splitlines()]
        own = {f"train_{name}_loss": 0.5 for name in networks} | {"train_net_cycle": 0.1}
        path.write_text("".join(json.dumps(epoch | own) + "\n" for epoch in epochs))
    domains = write_without_charts(tmp_path).contents.domains
    covid, cap = (domain_tables.arm_table(entry)[1] for entry in domains)
    assert covid[2] == cap[2] == "–"
    assert "paper" not in covid[4]
    assert cap[4].endswith("; paper 38.0")
    assert "<small>paper 38.0</small>" in read_section(tmp_path, "domains")
    assert re.findall(r'alt="Training of (.*?)"', read_section(tmp_path, "training")) == [
        "unet covid: train loss and val score",
        "sifa covid→cap: train loss and val score",
        "sifa covid→cap: train generator loss and train target discriminator loss",
        "sifa covid→cap: train net loss and val score",
    ]


def test_comparisons_have_their_p_before_and_after_holm(domain_report):
    covid, cap = domain_report.contents.domains
    head, *rows = domain_tables.pair_table(cap)
    assert head[:3] == ["comparison", "p over images", "after Holm"]
    assert [row[0] for row in rows] == ["sifa covid→cap − unet covid"]
    assert rows[0][1:3] == ["<0.001", "<0.001"]
    assert len(domain_tables.pair_table(covid)) == 1 + domain_tables.MAX_PAIRS
    what, images, patients, draws = domain_tables.explain_tests(covid)
    assert what.endswith("Holm over 78 comparisons; 58 of them are in report.json only.")
    assert "as the paper describes it" in images
    assert "with 6 of them" in patients
    assert "1,000 draws" in draws


def test_the_page_has_a_table_of_arms_and_one_of_comparisons_per_domain(domain_report):
    section = read_section(domain_report.out, "domains")
    assert section.count("<table") == section.count('<div class="scroll"><table') == 2 * 2
    assert "Comparisons, cap" in section
    assert "#domains" in read_links(domain_report.out)
    assert "standard deviation over images" in read_section(domain_report.out, "reading")


def test_markdown_has_the_same_numbers(domain_report):
    text = (domain_report.out / "report.md").read_text()
    part = text[text.index("## Each domain") :].split("\n## ")[0]
    assert part.count("| comparison | p over images | after Holm |") == 2
    assert "| sifa covid→cap − unet covid | <0.001 | <0.001 |" in part
    widths = {len(line.split("|")) for line in part.splitlines() if line.startswith("|")}
    assert widths == {8 + 2, 7 + 2}


def test_the_terminal_has_a_line_per_arm_and_counts_the_pairs(domain_report):
    lines = domain_report.text().splitlines()
    [start] = [k for k, line in enumerate(lines) if line.startswith("B-line masks, cap")]
    titles = ["Dice", "paper", "patients", "sensitivity", "specificity"]
    assert lines[start].split()[-5:] == titles
    assert [line.split()[0] for line in lines[start + 1 : start + 3]] == ["prior", "unet"]
    assert lines[start + 14].startswith(" comparisons with p < 0.05 after Holm: ")
    assert lines[start + 14].count(" of 1") == 3


def test_pairs_that_could_not_be_tested_have_a_reason(tmp_path):
    write_domain_run(
        tmp_path, arms=[UNET, SIFA], numbers=[0],
        dice=lambda name, patient, image: 0.5 if name == "unet covid" else 0.75,
    )  # fmt: skip
    cap = write_without_charts(tmp_path).contents.domains[1]
    assert domain_tables.pair_table(cap)[1][1::2] == ["<0.001", "–", "–"]
    reason = "<li>sifa covid→cap and unet covid: one patient</li>"
    assert reason in read_section(tmp_path, "domains")


def test_nothing_finished_and_one_arm_alone_have_no_comparison(tmp_path):
    write_domain_run(tmp_path / "none", numbers=[])
    entry = compute(tmp_path / "none").contents.domains[0]
    assert domain_tables.arm_table(entry)[1][1:4] == ["–", "–", "–"]
    assert domain_tables.count_significant(entry, "images") == (0, 0)
    write_domain_run(tmp_path / "one", arms=[UNET], claims=[])
    one = write_without_charts(tmp_path / "one")
    assert domain_tables.pair_table(one.contents.domains[0]) == []
    assert "after Holm" not in (tmp_path / "one" / "report.html").read_text()


def test_a_run_of_one_domain_has_no_such_section(mask_report):
    assert mask_report.contents.domains is None
    for name in report.FILES:
        assert "Each domain" not in (mask_report.out / name).read_text()
    assert '"domains"' not in (mask_report.out / "report.json").read_text()
