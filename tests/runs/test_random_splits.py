"""The published splits over images and clips: disjoint, balanced, and the same everywhere."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from lus_ray.data.transforms.augment_gare2021 import SIX_COPIES
from lus_ray.runs.cell_rows import split_clips, split_images

lengths = st.lists(st.integers(1, 8), min_size=1, max_size=6)


def clips(lengths):
    return [
        {"clip": f"t/{n}", "patient": f"t/p{n // 2}", "num_frames": length}
        for n, length in enumerate(lengths)
    ]


def listed(rows, side):
    return [
        (r["clip"], frame, copy) for r in rows if r["split"] == side for frame, copy in r["images"]
    ]


def everything(lengths):
    return {
        (f"t/{n}", frame, copy)
        for n, length in enumerate(lengths)
        for frame in range(length)
        for copy in range(len(SIX_COPIES))
    }


@given(lengths, st.integers(2, 5), st.integers(0, 99))
def test_parts_are_disjoint_equal_in_size_to_one_and_together_everything(lengths, num_folds, seed):
    parts = [
        listed(
            split_images(clips(lengths), fold=fold, num_folds=num_folds, seed=seed),
            "test",
        )
        for fold in range(num_folds)
    ]
    together = [image for part in parts for image in part]
    assert len(set(together)) == len(together)
    assert set(together) == everything(lengths)
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1


@given(lengths, st.integers(2, 5), st.integers(0, 99))
def test_a_fold_trains_on_all_that_it_does_not_test(lengths, num_folds, seed):
    for fold in range(num_folds):
        rows = split_images(clips(lengths), fold=fold, num_folds=num_folds, seed=seed)
        train, test = listed(rows, "train"), listed(rows, "test")
        assert {row["split"] for row in rows} <= {"train", "test"}
        assert not set(train) & set(test)
        assert sorted(train + test) == sorted(everything(lengths))


def test_a_clip_is_one_row_a_side_and_keeps_its_columns():
    rows = split_images(clips([4, 5]), fold=1, num_folds=3, seed=0)
    assert [(row["clip"], row["split"]) for row in rows] == [
        ("t/0", "test"), ("t/0", "train"), ("t/1", "test"), ("t/1", "train"),
    ]  # fmt: skip
    assert [row["num_frames"] for row in rows] == [4, 4, 5, 5]
    assert all(row["images"] == sorted(row["images"]) for row in rows)


def test_the_deal_does_not_depend_on_the_order_of_clips_and_leaves_them_alone():
    forward = clips([3, 2, 4])
    settings = {"fold": 0, "num_folds": 3, "seed": 7}
    assert split_images(forward, **settings) == split_images(forward[::-1], **settings)
    assert forward == clips([3, 2, 4])


def test_another_seed_deals_other_parts():
    settings = {"fold": 0, "num_folds": 3}
    assert split_images(clips([9]), seed=0, **settings) != split_images(
        clips([9]), seed=1, **settings
    )


def test_it_leaks_copies_of_one_frame_and_frames_of_one_patient_lie_on_both_sides():
    rows = split_images(clips([8] * 4), fold=0, num_folds=3, seed=0)
    train, test = ({image[:2] for image in listed(rows, side)} for side in ("train", "test"))
    assert train & test


DISEASES = ("healthy", "COVID-19 pneumonia", "other lung disease")

diseases = st.lists(
    st.sampled_from((*DISEASES, "other non-lung disease", None)), min_size=1, max_size=40
)


def diagnosed(diseases):
    """Two clips a patient; the last two diseases are no diagnosis."""
    return [
        {"clip": f"t/{n:02}", "patient": f"t/p{n // 2}", "disease": disease}
        for n, disease in enumerate(diseases)
    ]


def parts_of(rows, num_folds, seed=0):
    return [
        [row for row in split_clips(rows, "diagnosis", fold=k, num_folds=num_folds, seed=seed)
         if row["split"] == "test"]
        for k in range(num_folds)
    ]  # fmt: skip


@given(diseases, st.integers(2, 5), st.integers(0, 99))
def test_every_clip_with_a_diagnosis_is_tested_in_one_fold_and_learned_in_the_others(
    diseases, num_folds, seed
):
    rows = diagnosed(diseases)
    known = {row["clip"] for row in rows if row["disease"] in DISEASES}
    settings = {"num_folds": num_folds, "seed": seed}
    folds = [split_clips(rows, "diagnosis", fold=k, **settings) for k in range(num_folds)]
    for dealt in folds:
        assert [row["clip"] for row in dealt] == sorted(known)
        assert {row["split"] for row in dealt} <= {"train", "test"}
    once = Counter(row["clip"] for dealt in folds for row in dealt if row["split"] == "test")
    assert once == Counter(known)


@given(diseases, st.integers(2, 5), st.integers(0, 99))
def test_every_class_and_the_whole_are_dealt_evenly(diseases, num_folds, seed):
    parts = parts_of(diagnosed(diseases), num_folds, seed)
    for name in (*DISEASES, None):
        sizes = [sum(name in (None, row["disease"]) for row in part) for part in parts]
        assert max(sizes) - min(sizes) <= 1


def test_clips_are_dealt_alike_in_any_order_otherwise_by_another_seed_and_left_alone():
    rows = diagnosed(DISEASES * 6)
    assert parts_of(rows, 3) == parts_of(rows[::-1], 3)
    assert parts_of(rows, 3) != parts_of(rows, 3, seed=1)
    assert rows == diagnosed(DISEASES * 6)


def test_it_leaks_clips_of_one_patient_lie_on_both_sides():
    rows = split_clips(diagnosed(DISEASES * 6), "diagnosis", fold=0, num_folds=3, seed=0)
    train, test = ({r["patient"] for r in rows if r["split"] == side} for side in ("train", "test"))
    assert train & test
