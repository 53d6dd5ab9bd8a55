"""The report of a class that the training split of a fold lacks."""

import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from lus_ray.clip import BIOMARKERS, MASK_SCHEMES
from lus_ray.evaluation import comparisons, schema, untrained
from lus_ray.metrics import classification
from lus_ray.report import compose, rendering, terminal
from lus_ray.report.blocks import Document
from tests.evaluation.mask_run import DENSE, write_mask_cell
from tests.evaluation.run_folders import SEVERITY, TEST, arm, compute, write_cell, write_run

ONE, TWO = arm("one", baseline=True), arm("two", recipe={"epochs": 3})
SIGNS = arm("signs", label="biomarkers")
ALWAYS = [SEVERITY] * 3
NEVER_3 = [SEVERITY[:3]] * 3


def write(out, **trained_by_arm):
    entries = {"one": ONE, "two": TWO, "signs": SIGNS}
    arms = [entries[name] for name in trained_by_arm]
    write_run(out, arms)
    for entry in arms:
        for fold, names in enumerate(trained_by_arm[entry["name"]]):
            write_cell(out, entry, fold, skill=0.2, trained=names and list(names))
    return compute(out)


@pytest.fixture(scope="module")
def never(tmp_path_factory):
    return write(tmp_path_factory.mktemp("never"), one=NEVER_3, two=NEVER_3)


def test_a_class_in_no_training_side_is_named_and_has_no_score(never):
    (entry,) = never.contents.untrained
    assert (entry.label, entry.name, entry.folds) == ("severity", "3", (0, 1, 2))
    sentence = "severity 3: in no training split; no score."
    assert sentence in never.contents.warnings
    own = never.row("two").classes["3"]
    assert (own.precision, own.recall, own.f1, own.num_folds) == (None, None, None, 0)
    assert own.num_true > 0
    document = Document("", tuple(compose.lead_blocks(never.contents)), ())
    for render in (terminal.render, rendering.render_markdown):
        assert sentence in " ".join(render(document).split())
    assert "NaN" not in schema.to_json(never.contents)


def test_a_sign_whose_test_clips_nobody_judged_is_in_no_test_clip(tmp_path):
    write_run(tmp_path, [SIGNS])
    for fold in range(3):
        unjudged = [None] * len(TEST)
        write_cell(tmp_path, SIGNS, fold, num_clips=1, target=unjudged, trained=BIOMARKERS[1:])
    (entry,) = compute(tmp_path).contents.untrained
    assert (entry.name, entry.folds, entry.num_tested) == (BIOMARKERS[0], (0, 1, 2), 0)


def test_averages_leave_the_class_out_and_accuracy_counts_its_clips(never, tmp_path):
    plain = write(tmp_path, one=ALWAYS, two=ALWAYS).row("two")
    row = never.row("two")
    assert row.mean["accuracy"] == plain.mean["accuracy"]
    assert row.confusion == plain.confusion
    cell = never.run.cells["two", 0]
    counts = classification.confusion(cell.target, cell.probability.argmax(axis=1), num_classes=4)
    by_class = classification.class_f1(counts)
    assert row.folds[0].metrics["macro_f1"] == pytest.approx(by_class[:3].mean())
    assert plain.folds[0].metrics["macro_f1"] == pytest.approx(by_class.mean())
    assert all(number == 3 for number in row.num_folds.values())
    assert "accuracy and kappa count every test clip" in never.contents.notes["untrained"]


def test_a_class_that_some_folds_lack_is_scored_on_the_others(tmp_path):
    computed = write(tmp_path, one=[SEVERITY, SEVERITY[:3], SEVERITY])
    own = computed.row("one").classes["3"]
    cells = computed.run.cells
    hits = sum(
        int(((c.target == 3) & (c.probability.argmax(axis=1) == 3)).sum())
        for (_, fold), c in cells.items()
        if fold != 1
    )
    num_true = sum(int((c.target == 3).sum()) for (_, fold), c in cells.items() if fold != 1)
    assert own.recall == hits / num_true
    assert own.num_folds == 2
    sentence = "severity 3: not in the training split of fold 1; scored in 2 of 3 folds."
    assert sentence in computed.contents.warnings


def test_a_class_of_one_patient_is_tested_only_where_it_is_not_trained(tmp_path):
    write_run(tmp_path, [ONE])
    for fold in range(3):
        target = [3 if fold == 0 and k < 4 else k % 3 for k in range(48)]
        trained = SEVERITY[: 4 if fold else 3]
        write_cell(tmp_path, ONE, fold, skill=0.2, target=target, trained=list(trained))
    computed = compute(tmp_path)
    own = computed.row("one").classes["3"]
    assert (own.num_true, own.precision, own.recall, own.f1) == (4, None, None, None)
    assert own.num_folds == 0
    (entry,) = computed.contents.untrained
    assert (entry.folds, entry.num_tested, entry.num_scored) == ((0,), 1, 0)


def test_a_class_without_a_test_clip_has_no_score(tmp_path):
    write_run(tmp_path, [ONE])
    write_cell(tmp_path, ONE, 0, skill=0.0, target=[k % 3 for k in range(48)])
    own = compute(tmp_path).row("one").classes["3"]
    assert (own.num_true, own.precision, own.recall, own.f1) == (0, None, None, None)


def test_a_normal_run_says_nothing(tmp_path):
    contents = write(tmp_path, one=ALWAYS).contents
    plain = json.loads(schema.to_json(contents))
    assert "untrained" not in {*plain, *plain["notes"]}
    assert not any("training split" in warning for warning in contents.warnings)
    assert "num_folds" not in plain["arms"][0]["classes"]["3"]


def test_a_table_of_an_earlier_version_has_its_classes_counted(tmp_path):
    write(tmp_path, one=[None])
    path = tmp_path / "predictions" / "one" / "fold0.parquet"
    metadata = pq.read_schema(path).metadata
    about = json.loads(metadata[b"lus_ray.prediction"])
    del about["trained"]
    table = pq.read_table(path)
    held = [row["target"] for row in table.to_pylist() if row["split"] == "train"]
    pq.write_table(
        table.replace_schema_metadata({b"lus_ray.prediction": json.dumps(about).encode()}), path
    )
    cell = compute(tmp_path).run.cells["one", 0]
    assert np.flatnonzero(cell.trained).tolist() == held


def test_a_biomarker_without_both_values_in_training_has_no_score(tmp_path):
    computed = write(tmp_path, signs=[BIOMARKERS, BIOMARKERS[1:], BIOMARKERS[2:]])
    one, two, three = list(computed.row("signs").biomarkers.values())[:3]
    assert (one.num_folds, two.num_folds, three.num_folds) == (1, 2, None)
    folds = computed.arms["signs"].scores
    assert one.auc == folds[0].by_label[BIOMARKERS[0]]["auc"]
    assert one.num_judged > folds[0].num_judged[BIOMARKERS[0]]
    assert np.isnan(folds[2].by_label[BIOMARKERS[0]]["accuracy"])


def test_arms_that_trained_other_classes_are_not_compared_by_averages(tmp_path):
    computed = write(tmp_path, one=ALWAYS, two=NEVER_3)
    one, two = computed.arms["one"], computed.arms["two"]
    for compare in (comparisons.compare, comparisons.compare_means):
        difference = compare(two, one, "auc")
        assert difference.value is None
        assert difference.reason == "two was not trained on severity 3 in every fold"
        assert compare(two, one, "accuracy").value is not None
    (entry,) = computed.contents.untrained
    assert entry.arms == ("two",)
    sentence = "severity 3: in no training split of two; no score."
    assert sentence in computed.contents.warnings


def test_a_class_of_masks_without_a_training_mask_is_undefined(tmp_path):
    classes = MASK_SCHEMES["dense"]
    write_run(tmp_path, [DENSE], metrics=["mean_iou"])
    write_mask_cell(tmp_path, DENSE, 0, trained=list(classes[:-1]))
    row = compute(tmp_path).row("dense")
    metric = f"iou {classes[-1]}"
    assert row.mean[metric] is None
    assert row.per_image[metric].num_images == 0
    assert f"fold 0: no training mask has {classes[-1]}" in row.undefined[metric]
    known = [row.mean[f"iou {name}"] for name in classes[:-1]]
    assert row.mean["mean_iou"] == pytest.approx(np.mean(known))


@pytest.mark.parametrize(
    ("changes", "names", "sentence"),
    [
        ({}, "3", "severity 3: in no training split; no score."),
        ({"num_tested": 0}, "12",
         "severity 1, 2: in no training split and in no test clip; no score."),
        ({"folds": (0, 2), "num_scored": 1}, "3",
         "severity 3: not in the training split of folds 0, 2; scored in 1 of 3 folds."),
        ({"folds": (2,)}, "3", "severity 3: not in the training split of fold 2; no score."),
        ({"folds": (2,), "num_tested": 0}, "3",
         "severity 3: not in the training split of fold 2 and in no test clip; no score."),
        ({"label": "sf_ratio"}, "3", "S/F ratio 3: in no training split; no score."),
        ({"label": "biomarkers"}, "a",
         "biomarkers a: in no training split both present and absent; no score."),
        ({}, "abcdefgh",
         "severity a, b, c, d, e, 3 more (see report.json): in no training split; no score."),
    ],
)  # fmt: skip
def test_classes_that_the_same_folds_lack_share_a_sentence(changes, names, sentence):
    entry = schema.UntrainedClass(
        label="severity", name="", folds=(0, 1, 2), num_folds=3, num_tested=3, num_scored=0
    )
    entries = [replace(entry, name=name, **changes) for name in names]
    assert untrained.describe(entries) == [sentence]
