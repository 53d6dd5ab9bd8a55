import json
import re
from dataclasses import replace

from lus_ray.evaluation.schema import ImageSpread
from lus_ray.report import detail_tables, domain_tables, formatting
from lus_ray.runs.layout import TABLES
from tests.evaluation.domain_run import SIFA, UNET, write_domain_run
from tests.evaluation.run_folders import compute, slug_of
from tests.report.conftest import write_without_charts
from tests.report.pages import read_details, read_links, read_section


def texts(table):
    return [[cell.text for cell in row] for row in table.rows]


def domain_table(entry):
    return domain_tables.domain_table(entry, [arm.name for arm in entry.arms], name="domain")


def test_a_domain_has_both_spreads_and_the_paper(domain_report):
    covid, cap = domain_report.contents.domains
    assert domain_tables.domain_title(covid) == "B-line masks, covid (also A)"
    assert domain_tables.domain_title(cap) == "B-line masks, cap"
    table = domain_table(covid)
    assert table.columns == (
        "Arm", "Dice", "Paper", "Over patients", "Sensitivity", "Specificity", "Images", "Patients",
    )  # fmt: skip
    unet = next(row for row in texts(table) if row[0] == "unet covid")
    spread = next(arm for arm in covid.arms if arm.name == "unet covid").over_images["dice"]
    assert unet[1:3] == [f"{100 * spread.mean:.1f} ± {100 * spread.std:.1f}", "60.0 ± 26.0"]
    assert unet[-2:] == ["24", "6"]
    paper = next(row[2] for row in table.rows if row[0].text == "unet covid")
    assert paper.numbers == {"": 60.0, "std": 26.0}
    assert len(table.rows) == 15


def test_published_scores_stand_beside_theirs_and_losses_of_adversarial_networks_in_pairs(tmp_path):
    paper = {"unet covid": {"sensitivity_per_image, cap": [0.38, None]}}
    write_domain_run(tmp_path, arms=[UNET, SIFA], published=paper)
    networks = ("generator", "target_discriminator", "net")
    for path in (tmp_path / "cells" / slug_of(SIFA)).glob("fold*/metrics.jsonl"):
        epochs = [json.loads(line) for line in path.read_text().splitlines()]
        own = {f"train_{name}_loss": 0.5 for name in networks} | {"train_net_cycle": 0.1}
        path.write_text("".join(json.dumps(epoch | own) + "\n" for epoch in epochs))
    domains = write_without_charts(tmp_path).contents.domains
    covid, cap = (domain_table(entry).rows[0] for entry in domains)
    assert covid[2].text == cap[2].text == "–"
    assert (covid[4].remarks, cap[4].remarks) == ((), ("paper 38.0",))
    assert "<small>paper 38.0</small>" in read_section(tmp_path, "domains")
    assert re.findall(r'alt="Training of (.*?)"', read_details(tmp_path, "Training")) == [
        "unet covid: train loss and val score",
        "sifa covid→cap: train loss and val score",
        "sifa covid→cap: train generator loss and train target discriminator loss",
        "sifa covid→cap: train net loss and val score",
    ]


def test_comparisons_have_their_p_before_and_after_holm(domain_report):
    covid, cap = domain_report.contents.domains
    table = domain_tables.pair_table(cap)
    assert table.columns[:3] == ("Comparison", "p over images", "images, Holm")
    assert [row[:3] for row in texts(table)] == [
        ["sifa covid→cap − unet covid", "<0.001", "<0.001"]
    ]
    assert len(domain_tables.pair_table(covid).rows) == domain_tables.MAX_PAIRS
    what, images, patients, draws = domain_tables.explain_tests(covid)
    assert what.endswith("Holm over 78 comparisons; 58 of them are in report.json only.")
    assert "as the paper describes it" in images
    assert "with 6 of them" in patients
    assert "1,000 draws" in draws


def test_each_domain_has_its_main_arms_on_page_terminal_and_in_files(domain_report):
    section = read_section(domain_report.out, "domains")
    assert section.count("<table") == 2
    assert "#domains" in read_links(domain_report.out)
    assert "Comparisons, cap" in read_details(domain_report.out, "All arms and comparisons, cap")
    text = domain_report.text()
    assert "B-line masks, cap\nArm" in text
    assert text.count("Comparisons with p &lt; 0.05") == 0
    assert len(re.findall(r"Comparisons with p < 0\.05\s+after Holm", text)) == 2
    names = {path.name for path in (domain_report.out / TABLES).iterdir()}
    assert {"domain_cap.csv", "domain_all_cap.tex", "comparisons_cap.csv"} <= names


def test_pairs_that_could_not_be_tested_have_a_reason(tmp_path):
    write_domain_run(
        tmp_path, arms=[UNET, SIFA], numbers=[0],
        dice=lambda name, patient, image: 0.5 if name == "unet covid" else 0.75,
    )  # fmt: skip
    cap = write_without_charts(tmp_path).contents.domains[1]
    assert texts(domain_tables.pair_table(cap))[0][1::2] == ["<0.001", "–", "–"]
    reason = "<li>sifa covid→cap and unet covid: one patient</li>"
    assert reason in (tmp_path / "report.html").read_text()


def test_nothing_finished_and_one_arm_alone_have_no_comparison(tmp_path):
    write_domain_run(tmp_path / "none", numbers=[])
    entry = compute(tmp_path / "none").contents.domains[0]
    assert texts(domain_table(entry))[0][1:4] == ["–", "–", "–"]
    assert domain_tables.count_significant(entry, "images") == (0, 0)
    write_domain_run(tmp_path / "one", arms=[UNET], claims=[])
    [covid, _] = compute(tmp_path / "one").contents.domains
    assert domain_tables.pair_table(covid) is None


def test_the_table_of_single_images_says_where_not_all_define_a_metric(mask_report):
    contents = mask_report.contents
    spreads = {
        "pixel_accuracy": ImageSpread(mean=0.5, std=0.25, num_images=8),
        "iou A-line": ImageSpread(mean=0.125, std=0.0, num_images=3),
        "iou B-line": ImageSpread(mean=None, std=None, num_images=0),
    }
    [row] = contents.arms_of("sparse masks")
    for error, printed in ((0.01, "1.0"), (None, "–")):
        row = replace(row, per_image=spreads, calibration_error=error)
        table = detail_tables.image_table(replace(contents, arms=(row,)), "sparse masks")
        names = ("Pixel accuracy, %", "A-line IoU, %", "B-line IoU, %", "Images")
        assert table.columns[1:5] == names
        values = ["50.0 ± 25.0", "12.5 ± 0.0 (3)", "–", "8", printed]
        assert texts(table)[0] == ["sparse", *values]


def test_the_cohort_counts_patients_clips_and_classes_of_every_split(frame_report, mask_report):
    rows = texts(detail_tables.cohort_table(frame_report.contents))
    assert [row[0] for row in rows[:3]] == ["fold 0, train", "fold 0, val", "fold 0, test"]
    sizes = frame_report.contents.folds["sizes"][0]
    assert rows[2][1] == str(sizes["num_test"])
    tested = [own for own in frame_report.contents.splits if own.split == "test"]
    clips = {fold.num_clips for fold in frame_report.contents.arms[0].folds}
    assert tested[0].num_clips in clips
    assert sum(tested[0].classes["severity"].values()) == tested[0].num_clips
    masks = next(own for own in mask_report.contents.splits if own.split == "test")
    assert masks.classes["sparse masks"]["background"] > 0


def test_captions_promise_no_deviation_of_a_single_fold(clip_report):
    contents, text = clip_report.contents, "{mean}; {scores}"
    several = "mean over folds; mean ± standard deviation over folds"
    assert formatting.caption(text, contents) == several
    single = replace(contents, folds={"sizes": contents.folds["sizes"][:1]})
    assert formatting.caption(text, single) == "score on one fold; score on one fold"
