"""Which frame and which copy comes when: copies each once, markers in their shares, clips in turn.

What holds of every order, such as shares of workers, is in `test_batches.py`.
"""

from collections import Counter
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lus_ray.data.loading.sampler import MARKERS, SampleSpec, count_images, images_of, sample_epoch
from lus_ray.errors import ArmError

MARKED = {"by_frame": True, "balance": "markers", "seed": 0, "epoch": 0}

lengths = st.lists(st.integers(1, 9), min_size=1, max_size=5)


def rows(*scores):
    """Clips with a score for each frame."""
    return [{"clip": f"t/{n}", "frame_severity": list(one)} for n, one in enumerate(scores)]


def flat(batches):
    return [draw for part in batches for draw in part]


def score_of(clips, draw):
    return clips[draw.row]["frame_severity"][draw.frame]


@given(lengths, st.integers(1, 6))
def test_copies_make_an_epoch_so_many_times_longer_and_each_comes_once(lengths, copies):
    clips = [{"num_frames": length} for length in lengths]
    drawn = flat(sample_epoch(clips, batch=1, seed=0, epoch=0, by_frame=True, copies=copies))
    expected = {
        (row, frame, copy)
        for row, length in enumerate(lengths)
        for frame, copy in product(range(length), range(copies))
    }
    assert len(drawn) == len(expected) == copies * sum(lengths)
    assert {(d.row, d.frame, d.copy) for d in drawn} == expected


@pytest.mark.parametrize("copies", [0, 7])
def test_there_are_one_to_six_copies(copies):
    with pytest.raises(ArmError, match=r"arm\.recipe\.copies from 1 to 6"):
        sample_epoch(rows([0, 1]), batch=1, seed=0, epoch=0, by_frame=True, copies=copies)


def test_without_copies_every_image_is_number_0():
    drawn = flat(sample_epoch(rows([0, 1]), batch=1, seed=0, epoch=0, by_frame=True))
    assert {draw.copy for draw in drawn} == {0}


def test_a_row_that_lists_its_images_gives_these_and_no_others():
    clips = [{"num_frames": 4, "images": [(3, 5), (0, 0)]}, {"num_frames": 4, "images": [(1, 2)]}]
    drawn = flat(sample_epoch(clips, batch=1, seed=0, epoch=0, by_frame=True, copies=6))
    assert sorted((d.row, d.frame, d.copy) for d in drawn) == [(0, 0, 0), (0, 3, 5), (1, 1, 2)]


def test_scores_of_a_row_that_lists_its_images_are_those_of_its_frames():
    clips = [row | {"images": [(1, 4), (2, 0)]} for row in rows([0, 1, 3, 2])]
    drawn = flat(sample_epoch(clips, batch=32, num_samples=320, copies=6, **MARKED))
    assert {(d.frame, d.copy) for d in drawn} == {(1, 4), (2, 0)}


def test_half_of_the_marker_draws_have_score_0_and_a_sixth_each_of_the_others():
    clips = rows([0] * 3 + [3] * 40, [1, 1, 2], [2] * 30 + [0])
    drawn = flat(sample_epoch(clips, batch=32, num_samples=24_000, **MARKED))
    shares = Counter(score_of(clips, draw) for draw in drawn)
    assert len(drawn) == 24_000
    for score, share in [(0, 1 / 2), (1, 1 / 6), (2, 1 / 6), (3, 1 / 6)]:
        assert shares[score] / 24_000 == pytest.approx(share, abs=0.004)


def test_every_full_batch_is_dealt_from_thirty_six_scores():
    clips = rows([0, 1, 2, 3] * 10)
    limits = Counter(MARKERS)
    for part in sample_epoch(clips, batch=32, num_samples=320, **MARKED):
        assert not Counter(score_of(clips, draw) for draw in part) - limits
    (part,) = sample_epoch(clips, batch=36, num_samples=36, **MARKED)
    assert Counter(score_of(clips, draw) for draw in part) == limits


def test_a_score_that_no_frame_has_leaves_its_place_to_the_others():
    clips = rows([0] * 8 + [2] * 8)
    batches = sample_epoch(clips, batch=32, num_samples=3200, **MARKED)
    shares = Counter(score_of(clips, draw) for draw in flat(batches))
    assert {len(part) for part in batches} == {32}
    assert shares[0] / 3200 == pytest.approx(3 / 4, abs=0.03)
    assert shares[2] / 3200 == pytest.approx(1 / 4, abs=0.03)


@given(st.integers(0, 99), st.integers(1, 6))
def test_frames_of_a_clip_are_not_repeated_until_all_of_them_came(epoch, num_rounds):
    clips = rows([0] * 7, [1] * 5)
    settings = MARKED | {"epoch": epoch}
    drawn = flat(sample_epoch(clips, batch=1, num_samples=12 * num_rounds, **settings))
    for row, length in [(0, 7), (1, 5)]:
        frames = [draw.frame for draw in drawn if draw.row == row]
        for start in range(0, len(frames), length):
            part = frames[start : start + length]
            assert len(set(part)) == len(part)


def test_clips_of_a_score_are_drawn_by_how_many_frames_they_have_left():
    """Weights 1 + 0.2 (min(n, 50) - 1): of 5 frames 1.8, of 50 and of 500 alike 10.8."""
    clips = rows([0] * 5, [0] * 50, [0] * 500)
    firsts = Counter(
        sample_epoch(clips, batch=1, num_samples=1, **MARKED | {"epoch": epoch})[0][0].row
        for epoch in range(3000)
    )
    for row, weight in enumerate([1.8, 10.8, 10.8]):
        assert firsts[row] / 3000 == pytest.approx(weight / 23.4, abs=0.035)


def test_a_clip_without_frames_left_is_begun_again_in_proportion_to_four_fifths():
    """After the only frame of a clip it weighs 0.8 against 1.2 of a clip with two left."""
    clips = rows([0], [0, 0])
    pairs = [
        [
            draw.row
            for draw in flat(sample_epoch(clips, batch=2, num_samples=2, **MARKED | {"epoch": e}))
        ]
        for e in range(4000)
    ]
    seconds = [second for first, second in pairs if first == 0]
    assert seconds.count(0) / len(seconds) == pytest.approx(0.8 / 2.0, abs=0.04)


def test_a_short_clip_comes_far_more_often_than_its_share_of_frames():
    clips = rows([0] * 10, *([0] * 500 for _ in range(9)))
    drawn = flat(sample_epoch(clips, batch=32, num_samples=3200, **MARKED))
    by_clip = Counter(draw.row for draw in drawn)
    # Exhausted it keeps 0.8 of about 98; its frames are 10 of 4510.
    assert by_clip[0] / 3200 > 3 * 10 / 4510
    assert max(by_clip[row] for row in range(1, 10)) < 1.4 * min(by_clip[r] for r in range(1, 10))


def test_marker_draws_follow_the_seed_and_change_with_the_epoch():
    clips = rows([0, 1, 2, 3] * 5, [0, 0, 1, 1])

    def drawn(**changes):
        return sample_epoch(clips, batch=8, num_samples=64, **MARKED | changes)

    assert drawn() == drawn()
    assert drawn() != drawn(epoch=1)
    assert drawn() != drawn(seed=1)


def test_marker_draws_are_as_many_as_asked_for_or_as_there_are_in_full_batches():
    clips = rows([0] * 50, [3] * 2)
    assert len(flat(sample_epoch(clips, batch=4, **MARKED))) == 52
    assert len(flat(sample_epoch(clips, batch=4, num_samples=400, **MARKED))) == 400
    assert len(flat(sample_epoch(clips, batch=5, num_samples=12, **MARKED))) == 10


def test_workers_share_a_batch_of_markers():
    clips = rows([0] * 21, [1, 2, 3])
    whole = sample_epoch(clips, batch=6, **MARKED)
    shares = [sample_epoch(clips, batch=6, rank=rank, workers=2, **MARKED) for rank in range(2)]
    for part, one, two in zip(whole, *shares, strict=True):
        assert (part[::2], part[1::2]) == (one, two)


@pytest.mark.parametrize("balance", ["markers", "frame_severity"])
def test_frames_without_a_score_cannot_be_balanced_by_it(balance):
    clips = [*rows([0, 1]), {"clip": "t/plain", "frame_severity": None, "num_frames": 3}]
    with pytest.raises(ArmError, match="t/plain: no frame_severity to balance by") as caught:
        sample_epoch(clips, batch=2, **MARKED | {"balance": balance})
    assert "\n" not in str(caught.value)
    assert len(flat(sample_epoch(clips, batch=1, **MARKED | {"balance": None}))) == 5


def test_frames_are_balanced_by_scores_only():
    with pytest.raises(ArmError, match="frames cannot be balanced by 'disease'"):
        sample_epoch(rows([0, 1]), batch=2, **MARKED | {"balance": "disease"})


def test_a_batch_of_nothing_is_refused():
    with pytest.raises(ArmError, match=r"arm\.recipe\.batch"):
        sample_epoch(rows([0]), batch=0, seed=0, epoch=0)


def test_a_draw_is_a_plain_value():
    assert SampleSpec(1, 2) == SampleSpec(1, 2, None, 0)
    specs = flat(sample_epoch(rows([0, 1, 2, 3]), batch=2, copies=2, **MARKED))
    assert {type(value) for s in specs for value in (s.row, s.frame, s.copy)} == {int}


def frames_of(lengths):
    """Clips of so many frames, without scores."""
    return [{"clip": f"t/{n}", "num_frames": length} for n, length in enumerate(lengths)]


@given(lengths, st.integers(1, 60), st.integers(0, 99))
def test_frames_come_again_only_when_all_have_come(lengths, number, epoch):
    clips = frames_of(lengths)
    settings = {"batch": 1, "seed": 0, "epoch": epoch, "by_frame": True}
    drawn = [(d.row, d.frame) for d in flat(sample_epoch(clips, num_samples=number, **settings))]
    assert len(drawn) == number
    total = sum(lengths)
    for start in range(0, number, total):
        rounds = drawn[start : start + total]
        assert len(set(rounds)) == len(rounds)
    counts = Counter(drawn)
    assert max(counts.values()) <= -(-number // total)


def test_every_round_of_frames_has_an_order_of_its_own():
    settings = {"batch": 1, "seed": 0, "epoch": 0, "by_frame": True}
    drawn = flat(sample_epoch(frames_of([8, 8]), num_samples=48, **settings))
    rounds = [drawn[start : start + 16] for start in (0, 16, 32)]
    assert rounds[0] != rounds[1] != rounds[2] != rounds[0]


@given(lengths, st.integers(1, 6))
def test_images_are_counted_as_they_are_drawn(lengths, copies):
    clips = frames_of(lengths)
    clips[0]["images"] = [[0, 0]]
    assert count_images(clips, copies) == 1 + copies * sum(lengths[1:])
    drawn = flat(sample_epoch(clips, batch=1, seed=0, epoch=0, by_frame=True, copies=copies))
    assert len(drawn) == count_images(clips, copies)


def test_images_of_a_row_are_those_listed_or_every_copy_of_every_frame():
    assert images_of({"num_frames": 2}, 2).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert images_of({"num_frames": 2, "images": [[1, 5]]}, 2).tolist() == [[1, 5]]
    assert images_of({"num_frames": 2, "images": []}, 2).shape == (0, 2)
    assert images_of({"num_frames": 9, "frame_severity": [3]}, 1).tolist() == [[0, 0]]
