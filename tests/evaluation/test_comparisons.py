import pytest

from lus_ray.evaluation import comparisons
from lus_ray.runs import leakage
from tests.evaluation.frame_run import ARMS, FRAMES, GAP, write_frame_cell
from tests.evaluation.mask_run import DENSE, PUBLISHED, write_mask_cell
from tests.evaluation.mask_run import GAP as MASK_GAP
from tests.evaluation.run_folders import TEST, arm, compute, write_cell, write_run

ONE, TWO = arm("one"), arm("two")
PRIOR, STRONG = arm("class prior", baseline=True), arm("e2e", recipe={"epochs": 3})


def write_arms(out, arms, folds=(0,), write=write_cell, **facts):
    """A run of arms, each with settings of its cells."""
    write_run(out, [entry for entry, _ in arms], **facts)
    for entry, settings in arms:
        for fold in folds:
            write(out, entry, fold, **settings)
    return out


def test_equal_arms_differ_by_exactly_zero(tmp_path, mask_run):
    arms = compute(write_arms(tmp_path, [(ONE, {"seed": 5}), (TWO, {"seed": 5})])).arms
    by_image = mask_run.arms[PUBLISHED["name"]]
    for difference in (
        comparisons.compare(arms["one"], arms["two"], "auc"),
        comparisons.compare_means(by_image, by_image, "mean_iou"),
    ):
        assert (difference.value, *difference.interval) == (0.0, 0.0, 0.0)


def test_pairing_narrows_the_interval_where_patients_are_shared(tmp_path):
    pair = [(ONE, {"seed": 5, "skill": 0.20}), (TWO, {"seed": 5, "skill": 0.22})]
    arms = compute(write_arms(tmp_path, pair), num_draws=500).arms
    low, high = comparisons.compare(arms["two"], arms["one"], "auc").interval
    single = arms["one"].interval("auc")
    assert 0 < high - low < (single.high - single.low) / 2


@pytest.mark.parametrize(
    ("write", "setting", "base", "metric", "unit"),
    [
        (write_cell, "num_clips", arm("x"), "auc", "clips"),
        (write_frame_cell, "num_frames", FRAMES, "accuracy", "frames"),
        (write_mask_cell, "num_frames", DENSE, "mean_iou", "images"),
    ],
)
def test_arms_tested_on_different_examples_are_not_compared(
    tmp_path, write, setting, base, metric, unit
):
    pair = [(base | {"name": name}, {setting: number}) for name, number in (("one", 4), ("two", 3))]
    arms = compute(write_arms(tmp_path, pair, write=write, metrics=[metric])).arms
    difference = comparisons.compare(arms["one"], arms["two"], metric)
    assert difference.value is None
    assert difference.reason == f"one and two were tested on different {unit} in fold 0"


def test_differences_are_to_the_best_baseline(tmp_path):
    pair = [(PRIOR, {"skill": 0.0, "seed": 1}), (STRONG, {"skill": 0.4, "seed": 3})]
    prior, strong = compute(write_arms(tmp_path, pair, range(3))).contents.arms
    difference = strong.difference["auc"]
    assert (prior.difference, difference.to) == ({}, "class prior")
    assert difference.value == pytest.approx(strong.mean["auc"] - prior.mean["auc"])
    assert 0 < difference.error < difference.value


def test_a_gap_is_leaky_minus_clean_over_the_same_draws(frame_run):
    [gap] = frame_run.contents.gaps
    arms = frame_run.arms
    expected = comparisons.compare(arms["uninorm on all patients"], arms["uninorm"], "f1")
    assert gap.differences["f1"] == expected
    assert expected.value > 0
    assert (gap.label, gap.num_patients, gap.reason) == ("severity", 12, "")
    assert set(gap.differences) == {"f1", "accuracy"}
    shown = frame_run.contents.highlights["frame_severity"]
    assert shown == ("frames", "frames, all patients")  # the leaky arm does not hide the other


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"leaky": "absent"}, "there is no arm 'absent' in this run"),
        ({"leaky": "frames"}, "frames and uninorm predict different labels"),
        ({}, "uninorm on all patients: no fold is finished"),
    ],
)
def test_a_gap_that_cannot_be_measured_says_why(tmp_path, change, reason):
    [gap] = compute(write_run(tmp_path, ARMS, gaps=[{**GAP, **change}])).contents.gaps
    assert (gap.differences, gap.reason) == ({}, reason)


def test_the_gap_of_images_split_at_random_compares_means_over_the_same_patients(mask_run):
    [gap] = mask_run.contents.gaps
    leaky, clean = mask_run.arms[PUBLISHED["name"]], mask_run.arms["dense"]
    assert leaky.cells[1].clips != clean.cells[1].clips
    difference = gap.differences["mean_iou"]
    assert difference.value == leaky.mean("mean_iou") - clean.mean("mean_iou") > 0.3
    assert difference.interval[0] < difference.value < difference.interval[1]
    assert (gap.num_patients, gap.reason) == (12, "")
    assert "different images" in gap.note
    assert "trains on 67 % of the images and the second on those of 33 %" in gap.note
    assert gap.note.endswith("mirrored, darkened and brightened copies")


def test_the_gap_of_images_needs_all_folds_and_the_same_patients(tmp_path):
    pair, facts = [(DENSE, {}), (PUBLISHED, {})], {"metrics": ["mean_iou"], "gaps": [MASK_GAP]}
    contents = compute(write_arms(tmp_path, pair, (0, 1), write_mask_cell, **facts)).contents
    assert contents.gaps[0].reason.endswith("fold 2 is not finished")
    pair[0] = (DENSE, {"patients": TEST[:6]})
    write_arms(tmp_path, pair, range(3), write_mask_cell, **facts)
    reason = compute(tmp_path).contents.gaps[0].reason
    assert reason.endswith("and dense were tested on different patients")


def test_the_gap_of_clips_split_at_random_says_what_else_differs(tmp_path):
    clean, leaky = arm("clean"), arm("leaky", rows={"clips": True}, recipe={"select": "test"})
    gap = {"text": "", "leaky": "leaky", "clean": "clean"}
    write_arms(tmp_path, [(clean, {"skill": 0.3}), (leaky, {})], range(3), gaps=[gap])
    for fold in range(3):
        write_cell(tmp_path, leaky, fold, skill=0.9, patients=TEST[fold::3])
    computed = compute(tmp_path)
    assert computed.row("leaky").leak == f"{leakage.SELECTED}, {leakage.CLIPS}"
    assert leakage.CLIPS in computed.contents.notes
    [measured] = computed.contents.gaps
    expected = computed.arms["leaky"].mean("auc") - computed.arms["clean"].mean("auc")
    assert measured.differences["auc"].value == expected > 0
    assert measured.note.endswith("the second on those of 33 % of the patients")


@pytest.mark.parametrize(
    ("label", "rows", "mark", "metric", "write"),
    [
        ("severity", {"overlap": True}, leakage.OVERLAP, "auc", write_cell),
        ("dense masks", {"images": True}, leakage.IMAGES, "mean_iou", write_mask_cell),
    ],
)
def test_an_arm_is_compared_with_baselines_that_leak_as_it_does(
    tmp_path, label, rows, mark, metric, write
):
    arms = [
        arm("clean", label=label, baseline=True),
        arm("leaky", label=label, baseline=True, rows=rows),
        arm("clean arm", label=label),
        arm("leaky arm", label=label, rows=rows),
    ]
    better = [{}, {"skill": 0.9} if write is write_cell else {}, {}, {}]
    write_arms(tmp_path, list(zip(arms, better, strict=True)), write=write, metrics=[metric])
    computed = compute(tmp_path)
    clean, leaky = computed.row("clean arm"), computed.row("leaky arm")
    assert (clean.difference[metric].to, clean.leak) == ("clean", None)
    assert (leaky.difference[metric].to, leaky.leak) == ("leaky", mark)
