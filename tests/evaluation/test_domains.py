"""Two domains: metrics, draws, tables and tests of each by itself."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from lus_ray.evaluation import (
    comparisons,
    domains,
    mask_arms,
    report_json,
    results,
    scored_arms,
    scoring,
)
from lus_ray.metrics import segmentation, significance
from lus_ray.report import metric_names
from tests.evaluation.domain_run import (
    ARMS,
    CAP,
    COVID,
    PLACE,
    SIFA,
    UNET,
    drawn,
    write_domain_cell,
    write_domain_run,
)
from tests.evaluation.mask_run import write_pixel_run


def computed(out: Path) -> tuple[dict[str, Any], dict[str, scored_arms.ScoredArm]]:
    return report_json.compute(results.read(out), num_draws=200)


def dice_by_patient(**values: float) -> Any:
    """Dice of "unet covid" by the last two digits of a patient; every other arm has 0.5."""
    return lambda name, patient, image: (
        values.get(f"p{patient[-2:]}", 0.5) if name == "unet covid" else 0.5
    )


def test_every_image_knows_its_domain(tmp_path: Path) -> None:
    write_domain_run(tmp_path, numbers=[0])
    write_domain_cell(tmp_path, UNET, 0, dice=drawn, unknown=[CAP[0]])
    cell = results.read(tmp_path).cells["unet covid", 0]
    assert cell.domains == ("covid",) * 8 + ("",) * 4
    assert "dice, cap" in computed(tmp_path)[1]["unet covid"].scores[0].undefined


def test_a_metric_of_a_domain_is_that_of_its_images_alone(tmp_path: Path) -> None:
    _, arms = computed(write_domain_run(tmp_path))
    arm = arms["sifa covid→cap"]
    cell, scores = arm.cells[1], arm.scores[1]
    assert cell.counts is not None
    own = segmentation.score(cell.counts[[d == "cap" for d in cell.domains]], "bline")
    assert {m: scores[f"{m}, cap"] for m in own.values} == own.values
    assert scores["dice_per_image"] == pytest.approx(
        np.mean([scores["dice_per_image, covid"], scores["dice_per_image, cap"]])
    )
    assert arm.patients_of("dice, cap") == set(CAP)
    assert arm.patients_of("dice") == {*COVID, *CAP}


def test_intervals_of_a_domain_are_over_its_own_patients(tmp_path: Path) -> None:
    same = dice_by_patient(p00=0.1, p02=0.9)
    _, arms = computed(write_domain_run(tmp_path, dice=same))
    unet = arms["unet covid"]
    cap = unet.interval("dice_per_image, cap")
    assert cap.low == pytest.approx(0.5)
    assert cap.high == pytest.approx(0.5)
    covid = unet.interval("dice_per_image, covid")
    assert covid.low < unet.mean("dice_per_image, covid") < covid.high


def test_a_draw_of_every_patient_once_gives_the_scores_themselves(tmp_path: Path) -> None:
    _, arms = computed(write_domain_run(tmp_path, numbers=[1]))
    arm = arms["unet covid"]
    tally = scoring.count_patients(arm.cells[1], ("covid", "cap"))
    assert tally is not None
    assert tally.patients == (*COVID[2:4], *CAP[1:3])
    drawn_once = tally.metrics(np.ones((1, 4)))
    assert len(drawn_once) == 18
    for metric, values in drawn_once.items():
        assert values[0] == pytest.approx(arm.scores[1][metric])
    without_cap = tally.metrics(np.array([[2.0, 2.0, 0.0, 0.0]]))
    assert np.isnan(without_cap["dice, cap"][0])
    assert without_cap["dice"][0] == without_cap["dice, covid"][0]


def test_a_difference_on_a_domain_is_paired_over_its_patients(tmp_path: Path) -> None:
    _, arms = computed(write_domain_run(tmp_path))
    one, other = arms["sifa covid→cap"], arms["unet covid"]
    metric = "dice_per_image, covid"
    found = comparisons.compare(one, other, metric)
    assert found.value == pytest.approx(one.mean(metric) - other.mean(metric))
    assert found.interval[0] < found.value < found.interval[1]
    alone = comparisons.compare(one, other, "dice_per_image, cap")
    assert alone.interval != found.interval


def test_a_fold_without_a_domain_is_undefined_and_says_why(tmp_path: Path) -> None:
    write_domain_run(tmp_path)
    write_domain_cell(tmp_path, UNET, 0, dice=drawn, patients=COVID[:2])
    found, arms = computed(tmp_path)
    unet = arms["unet covid"]
    assert unet.defined_folds("dice_per_image, cap") == (1, 2)
    assert unet.why_undefined("dice_per_image, cap") == "fold 0: no image was tested"
    row = next(row for row in found.arms if row.name == "unet covid")
    assert row.num_folds["dice_per_image, cap"] == 2
    assert row.num_folds["dice_per_image, covid"] == 3


def test_a_claim_about_a_domain_counts_its_patients(tmp_path: Path) -> None:
    [claim] = computed(write_domain_run(tmp_path))[0].claims
    assert (claim.verdict, claim.num_patients) == ("reproduced", 6)


def test_a_row_of_a_domain_is_over_images_and_over_patients(tmp_path: Path) -> None:
    dice = dice_by_patient(p00=0.2, p01=0.8)
    found, _ = computed(write_domain_run(tmp_path, numbers=[0, 1], dice=dice))
    covid, cap = found.domains
    assert [entry.domain for entry in found.domains] == ["covid", "cap"]
    row = next(row for row in covid.arms if row.name == "unet covid")
    assert (row.num_images, row.num_patients) == (16, 4)
    values = np.array([0.2, 0.8, 0.5, 0.5])
    for over, number in (("over_images", 16), ("over_patients", 4)):
        spread = row[over]["dice"]
        assert spread.mean == pytest.approx(values.mean())
        assert spread.std == pytest.approx(values.std())
        assert spread.number == number
    assert row.published == {"dice": [0.6, 0.26]}
    assert next(r for r in cap.arms if r.name == "unet covid").num_images == 12
    assert row.over_images["specificity"].mean == pytest.approx(1 - 0.5 / 3)


def test_patients_weigh_alike_however_many_images_they_have(tmp_path: Path) -> None:
    write_domain_run(tmp_path, arms=[UNET], numbers=[])
    write_domain_cell(
        tmp_path, UNET, 0, dice=dice_by_patient(p00=0.2), patients=[COVID[0]], num_images=1
    )
    write_domain_cell(tmp_path, UNET, 1, dice=dice_by_patient(p02=0.8), patients=[COVID[2]])
    [row] = computed(tmp_path)[0].domains[0].arms
    assert row.over_images["dice"].mean == pytest.approx((0.2 + 4 * 0.8) / 5)
    assert row.over_patients["dice"].mean == pytest.approx(0.5)


def test_p_values_are_those_of_the_images_of_all_folds(tmp_path: Path) -> None:
    found, arms = computed(write_domain_run(tmp_path))
    cap = found.domains[1]
    assert cap.tested == "dice"
    row, column = (cap.order.index(name) for name in ("sifa covid→cap", "unet covid"))
    one: list[float] = []
    other: list[float] = []
    patient: list[str] = []
    for fold in range(3):
        for values, name in ((one, "sifa covid→cap"), (other, "unet covid")):
            cell = arms[name].cells[fold]
            assert cell.counts is not None
            inside = [domain == "cap" for domain in cell.domains]
            values.extend(segmentation.compute_metrics(cell.counts[inside], "bline")["dice"])
        cell = arms["unet covid"].cells[fold]
        patient += [p for p, d in zip(cell.patients, cell.domains, strict=True) if d == "cap"]
    raw = {test: cap.tests[test].raw[row][column] for test in domains.TESTS}
    assert raw["images"] == pytest.approx(stats.ttest_rel(one, other).pvalue)
    expected = significance.t_test_patients(np.array(one), np.array(other), patient)
    assert raw["patients"] == pytest.approx(expected)
    assert raw["images"] < raw["patients"] < 0.05
    assert raw["bootstrap"] == 1 / (domains.NUM_DRAWS + 1)
    matrix = cap.tests["images"].raw
    assert matrix[column][row] == raw["images"]
    assert matrix[row][row] is None


def test_twins_leaks_and_baselines_come_last_and_only_the_others_are_corrected(
    tmp_path: Path,
) -> None:
    covid = computed(write_domain_run(tmp_path))[0].domains[0]
    clean = ["unet covid", "sifa covid→cap", "place"]
    assert covid.order == [*clean, "unet covid, validated", "unet, best test epoch"]
    assert covid.corrected == clean
    for test in domains.TESTS:
        raw, adjusted = (np.array(covid.tests[test][k], float) for k in ("raw", "adjusted"))
        pairs = np.tril_indices(3, k=-1)
        np.testing.assert_allclose(adjusted[pairs], significance.holm(raw[pairs]))
        assert np.isnan(adjusted[3:]).all()
        assert np.isfinite(raw[np.tril_indices(5, k=-1)]).all()


def test_networks_on_translated_frames_are_a_twin_too(tmp_path: Path) -> None:
    twin = {**SIFA, "name": f"{SIFA['name']}, translated"}
    covid = computed(write_domain_run(tmp_path, arms=[twin, UNET, SIFA]))[0].domains[0]
    assert covid.corrected == ["unet covid", "sifa covid→cap"]
    assert covid.order[-1] == twin.name


def test_twins_alone_are_corrected_among_themselves(tmp_path: Path) -> None:
    arms = [{**entry, "name": f"{entry['name']}, validated"} for entry in (UNET, SIFA)]
    covid = computed(write_domain_run(tmp_path, arms=arms, published={}))[0].domains[0]
    assert covid.corrected == covid.order
    assert covid.tests["images"].adjusted[0][1] is not None


def test_arms_with_other_images_or_none_have_no_p_value(tmp_path: Path) -> None:
    write_domain_run(tmp_path, arms=[PLACE, UNET, SIFA], numbers=[0])
    write_domain_cell(tmp_path, UNET, 0, dice=drawn, num_images=3)
    (tmp_path / "predictions" / "place" / "fold0.parquet").unlink()
    covid = computed(tmp_path)[0].domains[0]
    reasons = {(e.one, e.other): e.reason for e in covid.undefined}
    assert reasons == {
        ("sifa covid→cap", "unet covid"): "tested on different images in fold 0",
        ("place", "unet covid"): "no fold in common has an image",
        ("place", "sifa covid→cap"): "no fold in common has an image",
    }
    assert not any(any(row) for row in covid.tests["images"].raw)
    place = next(row for row in covid.arms if row.name == "place")
    assert (place.over_images["dice"].mean, place.num_images) == (None, 0)


def test_one_patient_is_tested_over_images_alone(tmp_path: Path) -> None:
    cap = computed(write_domain_run(tmp_path, numbers=[0]))[0].domains[1]
    assert cap.tests["images"].raw[0][1] is not None
    assert cap.tests["patients"].raw[0][1] is None
    assert cap.tests["bootstrap"].raw[0][1] is None
    assert {entry.reason for entry in cap.undefined} == {"one patient"}


def test_an_experiment_of_one_domain_has_no_such_part(tmp_path: Path) -> None:
    found, arms = computed(write_pixel_run(tmp_path, domains={}))
    assert "domains" not in found
    assert not any(", " in metric for metric in arms["B-lines"].scores[0].values)


def test_a_metric_of_a_domain_keeps_its_name(tmp_path: Path) -> None:
    assert metric_names.name("dice_per_image, covid") == "Dice per image, covid"
    assert metric_names.name("iou A-line, cap") == "A-line IoU, cap"
    assert metric_names.name("auc, cap") is None
    assert metric_names.title("sensitivity_per_image, cap", "bline masks") == (
        "Sensitivity per image, cap"
    )
    named = [name for name, _ in mask_arms.explained(["dice_per_image, covid", "dice, cap"])]
    assert named == ["Dice", "per image", "empty classes"]


def test_an_unfinished_arm_has_the_columns_of_its_domains(tmp_path: Path) -> None:
    found, _ = computed(write_domain_run(tmp_path, numbers=[]))
    assert found.metrics_of("bline masks") == found.metrics
    assert len(ARMS) == len(found.domains[0].arms)
