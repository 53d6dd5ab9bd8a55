from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from lus_ray.evaluation import comparisons, domains, scoring
from lus_ray.metrics import segmentation, significance
from tests.evaluation.domain_run import (
    ARMS,
    CAP,
    COVID,
    PRIOR,
    SIFA,
    UNET,
    skilled_dice,
    write_domain_cell,
    write_domain_run,
)
from tests.evaluation.run_folders import compute


def dice_by_patient(**values):
    return lambda name, patient, image: values.get(f"p{patient[-2:]}", 0.5)


def test_a_metric_of_a_domain_is_that_of_its_images_alone(domain_run):
    arm = domain_run.arms["sifa covid→cap"]
    cell, scores = arm.cells[1], arm.scores[1]
    own = segmentation.score(cell.counts[[d == "cap" for d in cell.domains]], "bline")
    assert {m: scores[f"{m}, cap"] for m in own.values} == own.values
    assert scores["dice_per_image"] == pytest.approx(
        np.mean([scores["dice_per_image, covid"], scores["dice_per_image, cap"]])
    )
    assert arm.patients_of("dice, cap") == set(CAP)
    assert arm.patients_of("dice") == {*COVID, *CAP}


def test_a_draw_of_every_patient_once_gives_the_scores_themselves(domain_run):
    arm = domain_run.arms["unet covid"]
    counts = scoring.count_patients(arm.cells[1], ("covid", "cap"))
    assert counts.patients == (*COVID[2:4], *CAP[1:3])
    once = counts.metrics(np.ones((1, 4)))
    assert len(once) == 18
    for metric, values in once.items():
        assert values[0] == pytest.approx(arm.scores[1][metric])
    without_cap = counts.metrics(np.array([[2.0, 2.0, 0.0, 0.0]]))
    assert np.isnan(without_cap["dice, cap"][0])
    assert without_cap["dice"][0] == without_cap["dice, covid"][0]


def test_differences_and_claims_on_a_domain_are_over_its_patients(domain_run):
    sifa, unet = (domain_run.arms[name] for name in ("sifa covid→cap", "unet covid"))
    metric = "dice_per_image, covid"
    difference = comparisons.compare(sifa, unet, metric)
    assert difference.value == pytest.approx(sifa.mean(metric) - unet.mean(metric))
    assert difference.interval[0] < difference.value < difference.interval[1]
    assert comparisons.compare(sifa, unet, "dice_per_image, cap").interval != difference.interval
    [claim] = domain_run.contents.claims
    assert (claim.verdict, claim.num_patients) == ("undecided", 6)
    cap = "dice_per_image, cap"
    assert claim.difference == pytest.approx(sifa.mean(cap) - unet.mean(cap))


def test_a_fold_in_which_no_image_is_of_a_domain_is_undefined_and_says_why(tmp_path):
    write_domain_run(tmp_path, arms=[UNET])
    write_domain_cell(tmp_path, UNET, 0, dice=skilled_dice, unknown=[CAP[0]])
    computed = compute(tmp_path)
    unet, row = computed.arms["unet covid"], computed.row("unet covid")
    assert unet.cells[0].domains == ("covid",) * 8 + ("",) * 4
    assert unet.defined_folds("dice_per_image, cap") == (1, 2)
    assert unet.why_undefined("dice_per_image, cap") == "fold 0: no image was tested"
    assert row.num_folds["dice_per_image, cap"] == 2
    assert row.num_folds["dice_per_image, covid"] == 3


def test_a_row_and_the_intervals_of_a_domain_are_over_its_own_images_and_patients(tmp_path):
    dice = dice_by_patient(p00=0.2, p01=0.8)
    write_domain_run(tmp_path, arms=[UNET], numbers=[0, 1], dice=dice)
    computed = compute(tmp_path)
    unet, results = computed.arms["unet covid"], computed.contents.domains
    cap, covid = (unet.interval(f"dice_per_image, {role}") for role in ("cap", "covid"))
    assert (np.isnan(cap.low), cap.reason[:10]) == (True, "3 patients")
    assert covid.low < unet.mean("dice_per_image, covid") < covid.high
    assert [result.domain for result in results] == ["covid", "cap"]
    [row], [cap] = (result.arms for result in results)
    assert (row.num_images, row.num_patients, cap.num_images) == (16, 4, 12)
    values = np.array([0.2, 0.8, 0.5, 0.5])
    for spread, number in ((row.over_images["dice"], 16), (row.over_patients["dice"], 4)):
        assert spread.mean == pytest.approx(values.mean())
        assert spread.std == pytest.approx(values.std())
        assert spread.number == number
    assert row.published == {"dice": (0.6, 0.26)}
    assert row.over_images["specificity"].mean == pytest.approx(1 - 0.5 / 3)


def test_patients_weigh_alike_however_many_images_they_have(tmp_path):
    write_domain_run(tmp_path, arms=[UNET], numbers=[])
    for fold, patient, dice, num_images in ((0, COVID[0], 0.2, 1), (1, COVID[2], 0.8, 4)):
        write_domain_cell(
            tmp_path, UNET, fold, dice=lambda *_, own=dice: own, patients=[patient],
            num_images=num_images,
        )  # fmt: skip
    [row] = compute(tmp_path).contents.domains[0].arms
    assert row.over_images["dice"].mean == pytest.approx((0.2 + 4 * 0.8) / 5)
    assert row.over_patients["dice"].mean == pytest.approx(0.5)


def test_p_values_are_those_of_the_images_of_all_folds(domain_run):
    cap = domain_run.contents.domains[1]
    names = ("sifa covid→cap", "unet covid")
    masks = {
        name: [scoring.select_masks(cell, "cap") for cell in domain_run.arms[name].cells.values()]
        for name in names
    }
    counts = (np.concatenate([own.counts for own in masks[name]]) for name in names)
    sifa, unet = (segmentation.compute_metrics(own, "bline")["dice"] for own in counts)
    patients = [patient for own in masks["unet covid"] for patient in own.patients]
    row, column = (cap.order.index(name) for name in names)
    raw = {test: cap.tests[test].raw[row][column] for test in domains.TESTS}
    assert cap.tested == "dice"
    assert raw["images"] == pytest.approx(stats.ttest_rel(sifa, unet).pvalue)
    assert raw["patients"] == pytest.approx(significance.t_test_patients(sifa, unet, patients))
    assert raw["images"] < raw["patients"] < 0.05
    assert raw["bootstrap"] == 1 / (domains.NUM_DRAWS + 1)
    matrix = cap.tests["images"].raw
    assert (matrix[column][row], matrix[row][row]) == (raw["images"], None)


def test_variants_leaks_and_baselines_come_last_and_the_claims_alone_are_corrected(domain_run):
    covid, cap = domain_run.contents.domains
    clean = ("unet covid", "sifa covid→cap", "prior")
    assert covid.order == (*clean, "unet covid, validated", "unet, best test epoch")
    assert covid.main == clean
    assert cap.compared == (("sifa covid→cap", "unet covid"),)
    assert covid.compared == tuple(combinations(clean, 2))  # nothing is claimed of this domain
    for entry in (covid, cap):
        row, column = np.array([[entry.order.index(n) for n in p] for p in entry.compared]).T
        for p in entry.tests.values():
            raw, adjusted = (np.array(matrix, float) for matrix in (p.raw, p.adjusted))
            expected = significance.holm(raw[row, column])
            np.testing.assert_allclose(adjusted[row, column], expected)
            assert np.isfinite(adjusted).sum() == 2 * len(entry.compared)
            assert np.isfinite(raw[np.tril_indices(5, k=-1)]).all()


def test_variants_alone_are_compared(tmp_path):
    variants = [{**entry, "name": f"{entry['name']}, validated"} for entry in (UNET, SIFA)]
    write_domain_run(tmp_path, arms=variants, numbers=[0], published={})
    covid = compute(tmp_path).contents.domains[0]
    assert covid.main == covid.order
    assert covid.tests["images"].adjusted[0][1] is not None


def test_arms_with_other_images_or_none_have_no_p_value(tmp_path):
    write_domain_run(tmp_path, arms=[PRIOR, UNET, SIFA], numbers=[0])
    write_domain_cell(tmp_path, UNET, 0, dice=skilled_dice, num_images=3)
    (tmp_path / "predictions" / "prior" / "fold0.parquet").unlink()
    covid = compute(tmp_path).contents.domains[0]
    assert {(pair.one, pair.other): pair.reason for pair in covid.undefined} == {
        ("sifa covid→cap", "unet covid"): "tested on different images in fold 0",
        ("prior", "unet covid"): "no fold in common has an image",
        ("prior", "sifa covid→cap"): "no fold in common has an image",
    }
    assert not any(any(row) for row in covid.tests["images"].raw)
    prior = next(row for row in covid.arms if row.name == "prior")
    assert (prior.over_images["dice"].mean, prior.num_images) == (None, 0)


def test_one_patient_is_tested_over_images_alone_and_translated_frames_come_last(tmp_path):
    translated = {**SIFA, "name": f"{SIFA['name']}, translated"}
    write_domain_run(tmp_path, arms=[translated, UNET, SIFA], numbers=[0])
    covid, cap = compute(tmp_path).contents.domains
    assert covid.main == ("unet covid", "sifa covid→cap")
    assert covid.order[-1] == translated["name"]
    p_values = {test: p.raw[0][1] for test, p in cap.tests.items()}
    assert p_values.pop("images") is not None
    assert p_values == {"patients": None, "bootstrap": None}
    assert {pair.reason for pair in cap.undefined} == {"one patient"}


def test_unfinished_arms_have_the_columns_of_their_domains(tmp_path):
    contents = compute(write_domain_run(tmp_path, numbers=[])).contents
    assert contents.metrics_of("bline masks") == list(contents.metrics)
    assert len(ARMS) == len(contents.domains[0].arms)
