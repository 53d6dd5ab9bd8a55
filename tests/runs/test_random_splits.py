"""The published splits over images and clips: disjoint, balanced, and the same everywhere."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from lus_ray.data.transforms.augment_gare2021 import SIX_COPIES
from lus_ray.runs.cell_rows import split_clips, split_images

DISEASES = ("healthy", "COVID-19 pneumonia", "other lung disease")
lengths = st.lists(st.integers(1, 8), min_size=1, max_size=6)
diseases = st.lists(
    st.sampled_from((*DISEASES, "other non-lung disease", None)), min_size=1, max_size=40
)
folds, seeds = st.integers(2, 5), st.integers(0, 99)


def clips(lengths):
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
        {"clip": f"t/{n:02}", "patient": f"t/p{n // 2}", "disease": disease}
        for n, disease in enumerate(diseases)
    ]


def clip_folds(rows, num_folds=3, seed=0):
    return [
        split_clips(rows, "diagnosis", fold=k, num_folds=num_folds, seed=seed)
        for k in range(num_folds)
    ]


def in_test(rows):
    return [row for row in rows if row["split"] == "test"]


@given(lengths, folds, seeds)
def test_every_image_is_tested_once_and_trained_on_in_the_other_folds(lengths, num_folds, seed):
    images = {
        (f"t/{n}", frame, copy)
        for n, length in enumerate(lengths)
        for frame in range(length)
        for copy in range(len(SIX_COPIES))
    }
    tests = []
    for fold in range(num_folds):
        rows = split_images(clips(lengths), fold=fold, num_folds=num_folds, seed=seed)
        train, test = images_in(rows, "train"), images_in(rows, "test")
        assert {row["split"] for row in rows} <= {"train", "test"}
        assert sorted(train + test) == sorted(images)
        tests.append(test)
    assert sorted(image for test in tests for image in test) == sorted(images)
    assert max(map(len, tests)) - min(map(len, tests)) <= 1


def test_a_clip_has_one_row_per_split_and_keeps_its_columns():
    rows = split_images(clips([4, 5]), fold=1, num_folds=3, seed=0)
    assert [(row["clip"], row["split"], row["num_frames"]) for row in rows] == [
        ("t/0", "test", 4), ("t/0", "train", 4), ("t/1", "test", 5), ("t/1", "train", 5),
    ]  # fmt: skip
    assert all(row["images"] == sorted(row["images"]) for row in rows)


def test_images_are_split_alike_in_any_order_of_clips_and_otherwise_by_another_seed():
    rows = clips([3, 2, 4])
    first = split_images(rows, fold=0, num_folds=3, seed=7)
    assert first == split_images(rows[::-1], fold=0, num_folds=3, seed=7)
    assert first != split_images(rows, fold=0, num_folds=3, seed=8)
    assert rows == clips([3, 2, 4])


@given(diseases, folds, seeds)
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


def test_clips_are_split_alike_in_any_order_and_otherwise_by_another_seed():
    rows = diagnosed(DISEASES * 6)
    assert clip_folds(rows) == clip_folds(rows[::-1])
    assert clip_folds(rows) != clip_folds(rows, seed=1)
    assert rows == diagnosed(DISEASES * 6)


def test_both_leak_frames_and_clips_of_one_patient_are_in_both_splits():
    rows = split_images(clips([8] * 4), fold=0, num_folds=3, seed=0)
    train, test = ({image[:2] for image in images_in(rows, s)} for s in ("train", "test"))
    assert train & test
    rows = clip_folds(diagnosed(DISEASES * 6))[0]
    train, test = ({r["patient"] for r in rows if r["split"] == s} for s in ("train", "test"))
    assert train & test
