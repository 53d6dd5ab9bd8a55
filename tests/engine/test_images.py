"""The published split over images: parts are disjoint, equal in size, and the same everywhere."""

from hypothesis import given
from hypothesis import strategies as st

from lus_ray.engine.images import dealt
from lus_ray.six_copies import SIX_COPIES

lengths = st.lists(st.integers(1, 8), min_size=1, max_size=6)


def clips(lengths):
    return [
        {"clip": f"t/{n}", "patient": f"t/p{n // 2}", "num_frames": length}
        for n, length in enumerate(lengths)
    ]


def images(rows, side):
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
        images(dealt(clips(lengths), fold=fold, num_folds=num_folds, seed=seed), "test")
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
        rows = dealt(clips(lengths), fold=fold, num_folds=num_folds, seed=seed)
        train, test = images(rows, "train"), images(rows, "test")
        assert {row["split"] for row in rows} <= {"train", "test"}
        assert not set(train) & set(test)
        assert sorted(train + test) == sorted(everything(lengths))


def test_a_clip_is_one_row_a_side_and_keeps_its_columns():
    rows = dealt(clips([4, 5]), fold=1, num_folds=3, seed=0)
    assert [(row["clip"], row["split"]) for row in rows] == [
        ("t/0", "test"), ("t/0", "train"), ("t/1", "test"), ("t/1", "train"),
    ]  # fmt: skip
    assert [row["num_frames"] for row in rows] == [4, 4, 5, 5]
    assert all(row["images"] == sorted(row["images"]) for row in rows)


def test_the_deal_does_not_depend_on_the_order_of_clips_and_leaves_them_alone():
    forward = clips([3, 2, 4])
    settings = {"fold": 0, "num_folds": 3, "seed": 7}
    assert dealt(forward, **settings) == dealt(forward[::-1], **settings)
    assert forward == clips([3, 2, 4])


def test_another_seed_deals_other_parts():
    settings = {"fold": 0, "num_folds": 3}
    assert dealt(clips([9]), seed=0, **settings) != dealt(clips([9]), seed=1, **settings)


def test_it_leaks_copies_of_one_frame_and_frames_of_one_patient_lie_on_both_sides():
    rows = dealt(clips([8] * 4), fold=0, num_folds=3, seed=0)
    train, test = ({image[:2] for image in images(rows, side)} for side in ("train", "test"))
    assert train & test
