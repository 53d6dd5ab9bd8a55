"""Orders and batches: every clip in its turn, classes balanced, shares equal, seeds obeyed."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lus_ray.clip import make_row
from lus_ray.data import masks
from lus_ray.data.loading.batches import (
    InMemory,
    SampleSpec,
    Tracks,
    sample_epoch,
    size_of,
    stack_batch,
    view_of,
)
from lus_ray.data.transforms import augment_gare2021
from lus_ray.data.transforms.view import Track, View
from lus_ray.errors import StoreError


def rows(grades):
    frames = np.zeros((1, 2, 2), np.uint8)
    who = {"patient": "t/p", "source": "t"}
    return [make_row(frames, clip=f"t/{n}", severity=g, **who) for n, g in enumerate(grades)]


def scored(*clips):
    """Rows with a score for each frame, one list a clip."""
    who = {"patient": "t/p", "source": "t"}
    return [
        make_row(np.zeros((len(g), 2, 2), np.uint8), clip=f"t/{n}", frame_severity=list(g), **who)
        for n, g in enumerate(clips)
    ]


def flat(batches):
    return [draw for part in batches for draw in part]


def places(batches):
    return [(draw.row, draw.frame) for draw in flat(batches)]


grades = st.lists(st.integers(0, 3), min_size=1, max_size=30)
clips = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=9), min_size=1, max_size=6)


@given(grades, st.integers(1, 8), st.integers(0, 9))
def test_every_row_comes_once_an_epoch(labels, batch, epoch):
    batches = sample_epoch(rows(labels), batch=batch, seed=0, epoch=epoch)
    assert sorted(d.row for part in batches for d in part) == list(range(len(labels)))
    assert all(len(part) == batch for part in batches[:-1])


@given(grades)
def test_with_balance_every_class_comes_as_often_as_the_largest(labels):
    batches = sample_epoch(rows(labels), batch=4, seed=1, epoch=0, balance="severity")
    drawn = Counter(labels[d.row] for part in batches for d in part)
    assert set(drawn.values()) == {max(Counter(labels).values())}
    assert {d.row for part in batches for d in part} == set(range(len(labels)))


@given(grades, st.integers(1, 4))
def test_workers_share_every_batch_equally_and_without_overlap(labels, workers):
    settings = {"batch": 4, "seed": 0, "epoch": 2}
    shares = [
        sample_epoch(rows(labels), rank=r, workers=workers, **settings) for r in range(workers)
    ]
    assert len({len(share) for share in shares}) == 1
    for parts in zip(*shares, strict=True):
        assert len({len(part) for part in parts}) == 1
        together = [draw for part in parts for draw in part]
        assert len({d.row for d in together}) == len(together)


def test_an_epoch_is_another_order_and_a_seed_gives_the_same():
    labels = rows([0] * 20)
    one, two = (sample_epoch(labels, batch=4, seed=0, epoch=e) for e in (0, 1))
    assert one != two
    assert one == sample_epoch(labels, batch=4, seed=0, epoch=0)
    assert one != sample_epoch(labels, batch=4, seed=1, epoch=0)


def test_a_batch_holds_frames_and_the_labels_as_numbers():
    table = rows([2, 0])
    table[0]["sf_ratio"], table[1]["sf_ratio"] = 100.0, 450.0
    frames = {r["clip"]: np.full((5, 2, 2), n, np.uint8) for n, r in enumerate(table)}
    view = View(num_frames=3, height=2, width=2)
    batch = stack_batch(
        [SampleSpec(1, 0), SampleSpec(0, 0)], table, frames.__getitem__, view=view,
        columns=("severity", "sf_ratio"),
    )  # fmt: skip
    assert batch["frames"].shape == (2, 3, 2, 2)
    assert batch["frames"].dtype == torch.uint8
    assert batch["frames"][:, 0, 0, 0].tolist() == [1, 0]
    assert batch["severity"].tolist() == [0, 2]
    assert batch["sf_ratio"].tolist() == [0, 3]


def test_frames_at_a_size_that_nobody_resized_to_are_missed_loudly():
    with pytest.raises(KeyError):
        InMemory({}).epochs(rows([0]), view=View(), columns=(), batch=1, seed=0)


@given(clips, st.integers(1, 8), st.integers(0, 9))
def test_by_frame_every_frame_comes_once_and_every_batch_is_full(scores, batch, epoch):
    drawn = sample_epoch(scored(*scores), batch=batch, seed=0, epoch=epoch, by_frame=True)
    every = {(row, frame) for row, clip in enumerate(scores) for frame in range(len(clip))}
    said = places(drawn)
    assert len(set(said)) == len(said)
    assert set(said) <= every
    assert len(every) - len(said) < batch
    if len(every) >= batch:
        assert {len(part) for part in drawn} == {batch}
    else:
        assert set(said) == every


def test_balanced_draws_take_every_score_and_every_frame_within_it_equally_often():
    scores = [[0] * 60 + [1] * 30, [2] * 9, [3], [1] * 10]
    settings = {"by_frame": True, "balance": "frame_severity", "num_samples": 40_000}
    drawn = places(sample_epoch(scored(*scores), batch=64, seed=0, epoch=0, **settings))
    by_score = Counter(scores[row][frame] for row, frame in drawn)
    assert len(drawn) == 40_000
    for count in by_score.values():
        assert count / 40_000 == pytest.approx(1 / 4, abs=0.01)  # four standard deviations
    by_frame = Counter(drawn)
    for row, frame in [(0, 60), (3, 9)]:  # both of score 1, in clips of different length
        assert by_frame[row, frame] / 10_000 == pytest.approx(1 / 40, abs=0.007)


def test_balanced_draws_are_with_replacement_as_many_as_asked_for_or_as_there_are():
    rows = scored([0] * 50, [3] * 2)
    settings = {"seed": 0, "epoch": 0, "by_frame": True, "balance": "frame_severity"}
    assert len(flat(sample_epoch(rows, batch=4, **settings))) == 52
    assert len(flat(sample_epoch(rows, batch=4, num_samples=12, **settings))) == 12
    assert len(flat(sample_epoch(rows, batch=4, num_samples=400, **settings))) == 400
    assert len(flat(sample_epoch(rows, batch=5, num_samples=12, **settings))) == 10


def test_without_balance_an_epoch_can_be_a_part_of_the_frames():
    drawn = places(
        sample_epoch(scored([0] * 50), batch=4, seed=0, epoch=0, by_frame=True, num_samples=12)
    )
    assert len(set(drawn)) == len(drawn) == 12


@pytest.mark.parametrize("balance", [None, "frame_severity"])
def test_draws_of_frames_follow_the_seed_and_change_with_the_epoch(balance):
    settings = {"batch": 4, "by_frame": True, "balance": balance}
    rows = scored([0, 1, 2, 3] * 5, [0, 0, 1, 1])
    one = sample_epoch(rows, seed=0, epoch=0, **settings)
    assert one == sample_epoch(rows, seed=0, epoch=0, **settings)
    assert one != sample_epoch(rows, seed=0, epoch=1, **settings)
    assert one != sample_epoch(rows, seed=1, epoch=0, **settings)


@pytest.mark.parametrize("balance", [None, "frame_severity"])
@pytest.mark.parametrize("workers", [2, 3])
def test_workers_share_the_frames_of_a_batch_equally(balance, workers):
    rows = scored([0] * 21, [1, 2, 3])
    settings = {"batch": 6, "seed": 0, "epoch": 0, "by_frame": True, "balance": balance}
    whole = sample_epoch(rows, **settings)
    shares = [sample_epoch(rows, rank=r, workers=workers, **settings) for r in range(workers)]
    for part, *parts in zip(whole, *shares, strict=True):
        assert {len(share) for share in parts} == {6 // workers}
        together = Counter((d.row, d.frame) for share in parts for d in share)
        assert together == Counter((d.row, d.frame) for d in part)


def test_a_batch_of_frames_holds_the_score_of_each_frame():
    rows = scored([0, 1, 2], [3, 3])
    frames = {
        row["clip"]: (10 * n + np.arange(len(row["frames"])))[:, None, None].astype(np.uint8)
        for n, row in enumerate(rows)
    }
    draws = [SampleSpec(0, 0, 2), SampleSpec(1, 0, 1), SampleSpec(0, 0, 0)]
    view = View(num_frames=1, height=1, width=1, num_samples=0)
    batch = stack_batch(draws, rows, frames.__getitem__, view=view, columns=("frame_severity",))
    assert batch["frames"].flatten().tolist() == [2, 11, 0]
    assert batch["frames"].shape == (3, 1, 1, 1)
    assert batch["frame_severity"].tolist() == [2, 3, 0]
    assert batch["frame_severity"].dtype == torch.int64


def test_a_frame_that_the_clip_does_not_have_is_refused_in_one_line():
    frames = np.zeros((3, 2, 2), np.uint8)
    assert take_frames(frames, View(), SampleSpec(0, 0, 2)).shape == (1, 2, 2)
    with pytest.raises(StoreError, match="a clip has 3 frames and more labels") as caught:
        take_frames(frames, View(), SampleSpec(0, 0, 3))
    assert "\n" not in str(caught.value)


def tracked(*lengths):
    """Rows of a prediction table; frame m of clip n says n + m / 100 in score 0."""
    return [
        {"severity": n % 4, "outputs": [[n + m / 100, 0.5, 0.25, 0.0] for m in range(length)]}
        for n, length in enumerate(lengths)
    ]


def test_tracks_are_one_batch_of_all_clips_with_zeros_beyond_their_lengths():
    epochs = Tracks().epochs(tracked(2, 5, 1), view=Track(), columns=("severity",), batch=1)
    (batch,) = epochs(0)
    assert batch["tracks"].shape == (3, 4, 5)
    assert batch["tracks"].dtype == torch.float64
    assert batch["lengths"].tolist() == [2, 5, 1]
    assert batch["severity"].tolist() == [0, 1, 2]
    assert batch["tracks"][0, 0].tolist() == [0.0, 0.01, 0.0, 0.0, 0.0]
    assert batch["tracks"][1, 0].tolist() == [1.0, 1.01, 1.02, 1.03, 1.04]
    assert batch["tracks"][2, :, 1:].abs().max() == 0
    (again,) = epochs(1)
    assert torch.equal(again["tracks"], batch["tracks"])


def test_tracks_of_at_most_so_many_frames_are_those_of_the_view():
    (batch,) = Tracks().epochs(tracked(3, 8), view=Track(max_frames=4), columns=())(0)
    assert batch["lengths"].tolist() == [3, 4]
    assert batch["tracks"][1, 0].tolist() == [1.01, 1.03, 1.05, 1.07]


SINGLE = View(num_frames=1, height=2, width=3, num_samples=0)


def outlined(*schemes):
    """Rows, frames and masks of clips of three frames; class ids are as high as schemes go."""
    rng = np.random.default_rng(0)
    rows = [
        {"clip": f"t/{n}", "frame_severity": [0, 1, 2], "mask_scheme": scheme}
        for n, scheme in enumerate(schemes)
    ]
    frames = {row["clip"]: rng.integers(0, 256, (3, 2, 3), np.uint8) for row in rows}
    ids = {
        row["clip"]: rng.integers(0, 7 if row["mask_scheme"] == "dense" else 4, (3, 2, 3), np.uint8)
        for row in rows
    }
    return rows, frames, ids


def test_a_batch_holds_the_masks_of_its_frames():
    rows, frames, ids = outlined("dense", "dense")
    draws = [SampleSpec(1, 0, 2), SampleSpec(0, 0, 1), SampleSpec(1, 0, 0)]
    batch = stack_batch(
        draws, rows, frames.__getitem__, view=SINGLE, columns=(),
        clip_masks=ids.__getitem__, scheme="dense",
    )  # fmt: skip
    assert batch["masks"].shape == batch["frames"].shape == (3, 1, 2, 3)
    assert batch["masks"].dtype == torch.uint8
    for number, draw in enumerate(draws):
        clip = rows[draw.row]["clip"]
        assert (batch["masks"][number, 0].numpy() == ids[clip][draw.frame]).all()
        assert (batch["frames"][number, 0].numpy() == frames[clip][draw.frame]).all()


def test_masks_of_a_batch_are_in_one_scheme_whatever_that_of_each_clip():
    rows, frames, ids = outlined("dense", "sparse")
    pixels = InMemory({(2, 3): frames}, {(2, 3): ids})
    settings = {"view": SINGLE, "columns": (), "batch": 6, "seed": 0, "by_frame": True}
    (batch,) = pixels.epochs(rows, scheme="sparse", **settings)(0)
    ((*draws,),) = sample_epoch(rows, batch=6, seed=0, epoch=0, by_frame=True)
    for draw, found in zip(draws, batch["masks"], strict=True):
        row = rows[draw.row]
        expected = masks.convert_masks(ids[row["clip"]][draw.frame], row["mask_scheme"], "sparse")
        assert (found[0].numpy() == expected).all()
    assert batch["masks"].max() <= 3


def test_where_no_scheme_is_asked_for_there_are_no_masks():
    rows, frames, ids = outlined("dense")
    pixels = InMemory({(2, 3): frames}, {(2, 3): ids})
    settings = {"view": SINGLE, "columns": (), "batch": 1, "seed": 0, "by_frame": True}
    assert {*next(pixels.epochs(rows, **settings)(0))} == {"frames"}


def test_masks_of_a_clip_come_whole_and_in_the_order_of_the_rows():
    rows, frames, ids = outlined("dense", "sparse")
    pixels = InMemory({(2, 3): frames}, {(2, 3): ids})
    found = list(pixels.masks(rows[::-1], SINGLE))
    assert (found[0] == ids["t/1"]).all()
    assert (found[1] == ids["t/0"]).all()


def test_a_batch_tells_the_number_of_each_copy_where_there_is_more_than_the_image():
    rows, frames, _ = outlined("dense")
    numbers = [0, 5, 3]
    draws = [SampleSpec(0, 0, 1, copy) for copy in numbers]
    batch = stack_batch(draws, rows, frames.__getitem__, view=SINGLE, columns=())
    assert batch["copy"].tolist() == numbers
    plain = stack_batch(draws[:1], rows, frames.__getitem__, view=SINGLE, columns=())
    assert "copy" not in plain


def test_an_epoch_of_copies_holds_every_copy_of_every_frame_with_its_mask():
    rows, frames, ids = outlined("dense", "dense")
    pixels = InMemory({(2, 3): frames}, {(2, 3): ids})
    settings = {"view": SINGLE, "columns": (), "seed": 0, "by_frame": True, "scheme": "dense"}
    batches = list(pixels.epochs(rows, batch=4, copies=6, **settings)(0))
    assert len(batches) == 6 * 6 // 4
    given = torch.cat([batch["frames"] for batch in batches]) / 255
    ids_given = torch.cat([batch["masks"] for batch in batches])
    number = torch.cat([batch.get("copy", torch.zeros(4, dtype=int)) for batch in batches])
    made = augment_gare2021.make_copies(given, ids_given, number)
    whole = (
        torch.from_numpy(np.concatenate([*frames.values()]))[:, None] / 255,
        torch.from_numpy(np.concatenate([*ids.values()]))[:, None],
    )
    every = [augment_gare2021.make_copies(*whole, number) for number in range(6)]

    def listed(*copies):
        return sorted(
            pair
            for frames, masks in copies
            for pair in zip(frames.flatten(1).tolist(), masks.flatten(1).tolist(), strict=True)
        )

    assert listed(made) == listed(*every)


def test_views_are_told_apart_by_all_that_changes_their_frames_and_a_size_gives_them_again():
    plain, padded = (View(height=2, width=3, aspect=aspect) for aspect in (None, 1.3))
    assert (size_of(plain), size_of(padded)) == ((2, 3), (2, 3, 1.3))
    views = [plain, padded, *(replace(view, bicubic=True) for view in (plain, padded))]
    assert len({size_of(view) for view in views}) == 4
    assert [view_of(size_of(view)) for view in views] == views
    assert size_of(replace(plain, num_frames=1, num_samples=0)) == size_of(plain)


def two_streams(num_one, num_other):
    """A labelled and an unlabelled stream of frames, each with a grey of its own in each frame."""
    rows, frames = [], {}
    for clip, number, first in (("t/one", num_one, 0), ("t/other", num_other, 100)):
        greys = np.arange(first, first + number, dtype=np.uint8)
        frames[clip] = np.broadcast_to(greys[:, None, None], (number, 8, 8)).copy()
        rows.append({"clip": clip, "num_frames": number, "mask_scheme": "bline"})
    rows[1].pop("mask_scheme")
    masks = {"t/one": np.ones((num_one, 8, 8), np.uint8)}
    pixels = InMemory({(8, 8): frames}, {(8, 8): masks})
    view = View(num_frames=1, height=8, width=8, num_samples=0)
    settings = {"view": view, "columns": (), "batch": 2, "by_frame": True,
                "num_samples": max(num_one, num_other)}  # fmt: skip
    return pair_streams(
        pixels.epochs(rows[:1], scheme="bline", seed=0, **settings),
        pixels.epochs(rows[1:], seed=1, **settings),
    )


@pytest.mark.parametrize(("num_one", "num_other"), [(6, 4), (4, 6), (3, 20), (20, 3), (1, 1)])
def test_two_streams_side_by_side_are_as_long_as_the_longer_one(num_one, num_other):
    batches = list(two_streams(num_one, num_other)(0))
    longer = max(num_one, num_other)
    assert len(batches) == max(1, longer // 2)
    for batch in batches:
        assert set(batch) == {"frames", "masks", "target_frames"}
        assert batch["frames"].shape == batch["target_frames"].shape == batch["masks"].shape
        assert batch["frames"].max() < 100 <= batch["target_frames"].min()
    for name, number in (("frames", num_one), ("target_frames", num_other)):
        seen = Counter(torch.cat([batch[name][:, 0, 0, 0] for batch in batches]).tolist())
        assert max(seen.values()) - min(seen.values()) <= 1
        assert len(seen) == min(number, max(1, longer // 2 * 2))


def test_partners_of_two_streams_change_with_the_epoch():
    both = two_streams(6, 6)

    def pairs(epoch):
        return [tuple(pair) for batch in both(epoch) for pair in zip(
            *(batch[name][:, 0, 0, 0].tolist() for name in ("frames", "target_frames")),
            strict=True,
        )]  # fmt: skip

    assert pairs(0) == pairs(0)
    assert sorted(pairs(0)) != sorted(pairs(1))
