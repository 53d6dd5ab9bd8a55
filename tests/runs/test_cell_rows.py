"""Clips that an arm trains on, validates on, tests on or uses without labels; random splits."""

from collections import Counter
from functools import partial
from itertools import product

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments import video_scores
from lus_ray.data.transforms.augment_gare2021 import SIX_COPIES
from lus_ray.experiment import Arm, Experiment, Rows
from lus_ray.folds import Fold, rotating
from lus_ray.runs import cell_rows, predictions
from lus_ray.runs.cell import Cell
from lus_ray.runs.cell_rows import split_clips, split_images
from lus_ray.runs.layout import RunFolder
from lus_ray.runs.plan import RunPlan
from lus_ray.tasks import Segmentation

COVID, CAP = {"domain": "covid"}, {"domain": "cap"}
FOLD = Fold(0, train=("a", "A"), val=("b", "B"), test=("c", "C"))
TABLE = [
    {"clip": f"t/{p}", "patient": p, "group": p, "source": "t", "mask_scheme": "bline",
     "domain": "cap" if p.isupper() else "covid", "height": 8, "width": 8, "num_frames": 2,
     "severity": 1, "disease": "healthy", "etiology": None}
    for p in "abcABC"
]  # fmt: skip
"""A clip of each patient; names of the other domain's patients are capital letters."""


DISEASES = ("healthy", "COVID-19 pneumonia", "other lung disease")
diseases = st.lists(
    st.sampled_from((*DISEASES, "other non-lung disease", None)), min_size=1, max_size=40
)
frames_per_clip = st.lists(st.integers(1, 9), min_size=1, max_size=3)
fold_counts, seeds = st.integers(2, 5), st.integers(0, 99)


def plan_of(folder, *arms, folds=(FOLD,)):
    experiment = Experiment("t", "t", rotating(3), arms, ("dice",))
    return RunPlan(experiment, "smoke", folds, TABLE, "0", RunFolder(folder))


@pytest.mark.parametrize(
    ("rows", "splits", "unlabelled"),
    [
        (Rows(), {"train": "aA", "val": "bB", "test": "cC"}, ""),
        (Rows(learns=COVID), {"train": "a", "val": "b", "test": "cC"}, ""),
        (Rows(learns=COVID | {"severity": 2}), {"test": "cC"}, ""),
        (Rows(learns=CAP, unlabelled=COVID), {"train": "A", "val": "B", "test": "cC"}, "a"),
        (Rows(learns=CAP, unlabelled=COVID, with_val=True), {"train": "AB", "test": "cC"}, "ab"),
    ],
)
def test_arms_train_on_their_own_domain_and_are_tested_on_both(tmp_path, rows, splits, unlabelled):
    arm = Arm("t", Segmentation, rows=rows)
    plan = plan_of(tmp_path, arm)
    patients = {}
    for row in cell_rows.rows_of(arm, FOLD, Cell("t", 0), plan):
        patients[row["split"]] = patients.get(row["split"], "") + row["patient"]
    assert patients == splits
    second = cell_rows.unlabelled_rows(arm, FOLD, plan)
    assert "".join(row["patient"] for row in second) == unlabelled


def test_clips_split_at_random_ignore_the_patients_of_the_fold(tmp_path):
    arm = Arm("t", Segmentation, label="diagnosis", rows=Rows(clips=True, where=COVID))
    columns = ("clip", "patient", "group", "severity")
    index = pa.table({name: [row[name] for row in TABLE] for name in columns})
    folds = rotating(3).assign(index, seed=0)
    plan = plan_of(tmp_path, arm, folds=folds)
    for fold in folds:
        rows = cell_rows.rows_of(arm, fold, Cell("t", fold.number), plan)
        assert sorted(row["split"] for row in rows) == ["test", "train", "train"]
        assert sorted(row["clip"] for row in rows) == ["t/a", "t/b", "t/c"]


def test_an_arm_that_reads_images_split_at_random_takes_over_their_splits(tmp_path):
    images = Arm("images", Segmentation, label="dense masks", rows=Rows(images=True))
    reader = Arm("reader", Segmentation, label="sparse masks", reads="images")
    second = Arm("second", Segmentation, label="sparse masks", reads="reader")
    plan = plan_of(tmp_path, images, reader, second)
    info = predictions.PredictionInfo("images", 0, "dense masks", (), False, "0", scheme="dense")
    known = {**dict.fromkeys(predictions.KEPT), "sha256": "0"}
    values = {"fold": 0, "split": "test", "target": None, "prediction": {}}
    rows = [predictions.make_row(known | row, **values) for row in TABLE]
    for name in ("images", "reader"):
        predictions.write(plan.folder_of(Cell(name, 0)).predictions, rows, info)
    for arm in (reader, second):
        rows = cell_rows.rows_of(arm, FOLD, Cell(arm.name, 0), plan)
        assert {row["clip"]: row["split"] for row in rows} == {f"t/{p}": "test" for p in "abcABC"}


def clips_with_images(lengths):
    """Clips by patient; every second frame of a clip counts."""
    return [
        {"clip": f"t/{p}-{c}", "patient": f"t/{p}", "num_frames": 2 * length,
         "images": [[2 * n, 0] for n in range(length)]}
        for p, own in enumerate(lengths) for c, length in enumerate(own)
    ]  # fmt: skip


def images_per_patient(rows):
    return Counter(row["patient"] for row in rows for _ in row["images"])


@given(st.lists(frames_per_clip, min_size=1, max_size=6), st.data(), seeds)
def test_frames_are_reduced_to_a_number_and_each_patient_in_proportion(lengths, data, seed):
    train = clips_with_images(lengths)
    total = sum(map(sum, lengths))
    number = data.draw(st.integers(1, total))
    kept = cell_rows.reduce_images(train, number, seed=seed)
    assert train == clips_with_images(lengths), "the rows themselves do not change"
    assert cell_rows.reduce_images(train, total + number - 1, seed=seed) == train
    counts = images_per_patient(kept)
    assert sum(counts.values()) == number
    for patient, before in images_per_patient(train).items():
        assert abs(counts[patient] - number * before / total) < 1
    images = {row["clip"]: row["images"] for row in train}
    for row in kept:
        assert row["images"]
        assert row["images"] == sorted(row["images"])
        assert len({tuple(image) for image in row["images"]}) == len(row["images"])
        assert all(image in images[row["clip"]] for image in row["images"])
    assert kept == cell_rows.reduce_images(train, number, seed=seed)


def test_frames_of_a_patient_are_kept_with_equal_probability():
    train = clips_with_images([[4], [4]])
    counts = Counter()
    for seed in range(400):
        for row in cell_rows.reduce_images(train, 4, seed=seed):
            counts.update((row["clip"], frame) for frame, _ in row["images"])
    assert len(counts) == 8
    assert all(count / 400 == pytest.approx(0.5, abs=0.1) for count in counts.values())


def clips_of(lengths):
    return [
        {"clip": f"t/{n}", "patient": f"t/p{n // 2}", "num_frames": length}
        for n, length in enumerate(lengths)
    ]


def images_in(rows, split):
    return [
        (r["clip"], frame, copy) for r in rows if r["split"] == split for frame, copy in r["images"]
    ]


def diagnosed(diseases):
    """Two clips per patient; only the first three diseases are diagnoses."""
    return [
        {"clip": f"t/{n:02}", "patient": f"t/p{n // 2}", "disease": disease, "etiology": None}
        for n, disease in enumerate(diseases)
    ]


def clip_folds(rows, num_folds=3, seed=0):
    settings = {"num_folds": num_folds, "seed": seed}
    return [split_clips(rows, "diagnosis", fold=fold, **settings) for fold in range(num_folds)]


def in_test(rows):
    return [row for row in rows if row["split"] == "test"]


@given(st.lists(st.integers(1, 8), min_size=1, max_size=6), fold_counts, seeds)
def test_every_image_is_tested_once_and_trained_on_in_the_other_folds(lengths, num_folds, seed):
    rows = clips_of(lengths)
    images = sorted(
        (f"t/{n}", *pair)
        for n, length in enumerate(lengths)
        for pair in product(range(length), range(len(SIX_COPIES)))
    )
    tests = []
    for fold in range(num_folds):
        assigned = split_images(rows, fold=fold, num_folds=num_folds, seed=seed)
        names = [(row["clip"], row["split"]) for row in assigned]
        assert names == sorted(set(names)), "a clip has one row per split"
        assert all(row["num_frames"] == lengths[int(row["clip"][2:])] for row in assigned)
        assert all(row["images"] == sorted(row["images"]) for row in assigned)
        tests.append(images_in(assigned, "test"))
        assert sorted(images_in(assigned, "train") + tests[-1]) == images
    assert sorted(image for test in tests for image in test) == images
    assert max(map(len, tests)) - min(map(len, tests)) <= 1


@given(diseases, fold_counts, seeds)
def test_every_clip_with_a_diagnosis_is_tested_in_one_fold_and_trained_on_in_the_others(
    diseases, num_folds, seed
):
    rows = diagnosed(diseases)
    known = {row["clip"] for row in rows if row["disease"] in DISEASES}
    assigned = clip_folds(rows, num_folds, seed)
    for fold in assigned:
        assert [row["clip"] for row in fold] == sorted(known)
        assert {row["split"] for row in fold} <= {"train", "test"}
    assert Counter(row["clip"] for fold in assigned for row in in_test(fold)) == Counter(known)
    for name in (*DISEASES, None):  # every class, and the whole, is balanced
        sizes = [sum(name in (None, r["disease"]) for r in in_test(fold)) for fold in assigned]
        assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
    ("rows", "split"),
    [
        (clips_of([3, 2, 4]), partial(split_images, fold=0, num_folds=3)),
        (diagnosed(DISEASES * 6), clip_folds),
    ],
)
def test_the_seed_alone_decides_and_not_the_order_of_clips(rows, split):
    assert split(rows, seed=7) == split(rows[::-1], seed=7)
    assert len({str(split(rows, seed=seed)) for seed in range(5)}) == 5


@pytest.mark.parametrize(
    ("name", "shares"),
    [
        *(
            (name, {"train": 4, "test": 1})
            for name in ("max-argmax", "uninorm", "uninorm, float32")
        ),
        ("frames", {"train": 4, "test": 1}),
        ("frames, cross-fitted", {"train": 4, "test": 1}),
        ("attention", {"train": 3, "val": 1, "test": 1}),
    ],
)
def test_published_video_arms_train_on_everybody_who_is_not_tested(name, shares):
    arm = video_scores.EXPERIMENT.arm(name)
    clips = [{**TABLE[0], "clip": p, "patient": p, "group": p} for p in "abcdefghij"]
    fold = Fold(0, train=tuple("abcdef"), val=tuple("gh"), test=tuple("ij"))
    rows = cell_rows.assign_splits(arm, clips, fold, num_folds=5, seed=0)
    assert Counter(row["split"] for row in rows) == {s: 2 * n for s, n in shares.items()}
    assert arm.recipe is None or arm.recipe.follows_validation == ("val" in shares)
