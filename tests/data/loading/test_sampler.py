from collections import Counter
from functools import partial
from itertools import accumulate, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lus_ray.data.loading.sampler import (
    MARKERS,
    SampleSpec,
    count_images,
    count_window,
    images_of,
    sample_epoch,
)
from lus_ray.data.transforms.view import View
from lus_ray.errors import ArmError

FRAMES = {"batch": 1, "seed": 0, "epoch": 0, "by_frame": True}
MARKED = FRAMES | {"balance": "markers"}

scores = st.lists(st.integers(0, 3), min_size=1, max_size=30)
scores_of_clips = st.lists(
    st.lists(st.integers(0, 3), min_size=1, max_size=9), min_size=1, max_size=6
)
lengths = st.lists(st.integers(1, 9), min_size=1, max_size=5)


def make_rows(*scores):
    """Clips with a score for each frame."""
    return [{"clip": f"t/{n}", "frame_severity": list(own)} for n, own in enumerate(scores)]


def unscored_rows(lengths):
    return [{"clip": f"t/{n}", "num_frames": length} for n, length in enumerate(lengths)]


def severity_rows(scores):
    return [{"clip": f"t/{n}", "severity": score} for n, score in enumerate(scores)]


def flatten(batches):
    return [spec for batch in batches for spec in batch]


def sample_frames(rows, **settings):
    return flatten(sample_epoch(rows, **FRAMES | settings))


def count_scores(rows, specs):
    return Counter(rows[spec.row]["frame_severity"][spec.frame] for spec in specs)


@given(scores, st.integers(1, 8), st.integers(0, 9))
def test_every_clip_comes_once_an_epoch(labels, batch, epoch):
    batches = sample_epoch(severity_rows(labels), batch=batch, seed=0, epoch=epoch)
    assert sorted(spec.row for spec in flatten(batches)) == list(range(len(labels)))
    assert all(len(part) == batch for part in batches[:-1])


@given(scores)
def test_with_balance_every_class_comes_as_often_as_the_largest(labels):
    settings = {"batch": 4, "seed": 1, "epoch": 0, "balance": "severity"}
    sampled = [spec.row for spec in flatten(sample_epoch(severity_rows(labels), **settings))]
    counts = Counter(labels[row] for row in sampled)
    assert set(counts.values()) == {max(Counter(labels).values())}
    assert set(sampled) == set(range(len(labels)))


@given(scores, st.integers(1, 4), st.booleans())
def test_workers_have_equal_disjoint_shares_of_every_batch(scores, workers, by_frame):
    rows = [row | {"num_frames": 2} for row in severity_rows(scores)]
    sample = partial(sample_epoch, rows, batch=4, seed=0, epoch=2, by_frame=by_frame)
    shares = [sample(rank=rank, workers=workers) for rank in range(workers)]
    equal = [part[: len(part) // workers * workers] for part in sample()]
    assert shares == [[p[rank::workers] for p in equal if p] for rank in range(workers)]


@pytest.mark.parametrize(
    "settings", [{}, {"by_frame": True}, {"by_frame": True, "balance": "frame_severity"}, MARKED]
)
def test_an_order_follows_its_seed_and_changes_with_the_epoch(settings):
    rows = [row | {"num_frames": 20} for row in make_rows([0, 1, 2, 3] * 5, *[[0, 0, 1, 1]] * 19)]

    def sample(**changes):
        return sample_epoch(rows, **{"seed": 0, "epoch": 0, **settings, "batch": 4, **changes})

    assert sample() == sample()
    assert sample() != sample(epoch=1)
    assert sample() != sample(seed=1)


@given(scores_of_clips, st.integers(1, 8), st.integers(0, 9))
def test_every_frame_comes_once_in_full_batches(scores, batch, epoch):
    batches = sample_epoch(make_rows(*scores), batch=batch, seed=0, epoch=epoch, by_frame=True)
    frames = {(row, frame) for row, clip in enumerate(scores) for frame in range(len(clip))}
    sampled = [(spec.row, spec.frame) for spec in flatten(batches)]
    assert len(set(sampled)) == len(sampled)
    assert set(sampled) <= frames
    assert len(frames) - len(sampled) < batch
    if len(frames) >= batch:
        assert {len(part) for part in batches} == {batch}
    else:
        assert set(sampled) == frames


@given(lengths, st.integers(1, 60), st.integers(0, 99))
def test_frames_are_repeated_only_after_all_have_come(lengths, number, epoch):
    specs = sample_frames(unscored_rows(lengths), num_samples=number, epoch=epoch)
    sampled, total = [(spec.row, spec.frame) for spec in specs], sum(lengths)
    assert len(sampled) == number
    for start in range(0, number, total):
        rounds = sampled[start : start + total]
        assert len(set(rounds)) == len(rounds)


def test_every_round_of_frames_has_its_own_order():
    sampled = sample_frames(unscored_rows([8, 8]), num_samples=48)
    rounds = [sampled[start : start + 16] for start in (0, 16, 32)]
    assert rounds[0] != rounds[1] != rounds[2] != rounds[0]


@pytest.mark.slow
def test_balance_samples_every_score_and_every_frame_of_it_equally_often():
    scores = [[0] * 60 + [1] * 30, [2] * 9, [3], [1] * 10]
    rows, settings = make_rows(*scores), {"balance": "frame_severity", "num_samples": 40_000}
    sampled = sample_frames(rows, batch=64, **settings)
    assert len(sampled) == 40_000
    for count in count_scores(rows, sampled).values():
        assert count / 40_000 == pytest.approx(1 / 4, abs=0.01)  # four standard deviations
    counts = Counter((spec.row, spec.frame) for spec in sampled)
    for frame in [(0, 60), (3, 9)]:  # both of score 1, in clips of different length
        assert counts[frame] / 10_000 == pytest.approx(1 / 40, abs=0.007)


@pytest.mark.parametrize("balance", ["frame_severity", "markers"])
@pytest.mark.parametrize(
    ("batch", "num_samples", "expected"), [(4, 0, 52), (4, 12, 12), (4, 400, 400), (5, 12, 10)]
)
def test_balanced_samples_are_as_many_as_requested_or_as_frames(
    balance, batch, num_samples, expected
):
    settings = {"balance": balance, "batch": batch, "num_samples": num_samples}
    assert len(sample_frames(make_rows([0] * 50, [3] * 2), **settings)) == expected


@given(lengths, st.integers(1, 6))
def test_every_copy_of_every_frame_comes_once(lengths, copies):
    rows = unscored_rows(lengths)
    specs = sample_frames(rows, copies=copies)
    frames = [(row, frame) for row, length in enumerate(lengths) for frame in range(length)]
    expected = {(row, frame, copy) for (row, frame), copy in product(frames, range(copies))}
    assert len(specs) == len(expected) == count_images(rows, copies)
    assert {(spec.row, spec.frame, spec.copy) for spec in specs} == expected


def test_only_listed_images_of_a_row_are_sampled():
    rows = [{"num_frames": 4, "images": [(3, 5), (0, 0)]}, {"num_frames": 4, "images": [(1, 2)]}]
    specs = sample_frames(rows, copies=6)
    assert sorted((s.row, s.frame, s.copy) for s in specs) == [(0, 0, 0), (0, 3, 5), (1, 1, 2)]
    assert count_images(rows, 6) == 3
    rows = [row | {"images": [(1, 4), (2, 0)]} for row in make_rows([0, 1, 3, 2])]
    specs = sample_frames(rows, batch=32, num_samples=320, copies=6, balance="markers")
    assert {(spec.frame, spec.copy) for spec in specs} == {(1, 4), (2, 0)}


def test_images_of_a_row_are_those_listed_or_every_copy_of_every_frame():
    assert images_of({"num_frames": 2}, 2).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert images_of({"num_frames": 2, "images": [[1, 5]]}, 2).tolist() == [[1, 5]]
    assert images_of({"num_frames": 2, "images": []}, 2).shape == (0, 2)
    assert images_of({"num_frames": 9, "frame_severity": [3]}, 1).tolist() == [[0, 0]]


MANY = ([0] * 3 + [3] * 40, [1, 1, 2], [2] * 30 + [0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scores", "num_samples", "tolerance", "shares"),
    [
        (MANY, 24_000, 0.004, {0: 1 / 2, 1: 1 / 6, 2: 1 / 6, 3: 1 / 6}),
        (([0] * 8 + [2] * 8,), 3200, 0.03, {0: 3 / 4, 2: 1 / 4}),
    ],
)
def test_half_of_the_markers_have_score_0_and_the_others_share_the_rest(
    scores, num_samples, tolerance, shares
):
    rows = make_rows(*scores)
    batches = sample_epoch(rows, **MARKED | {"batch": 32, "num_samples": num_samples})
    counts = count_scores(rows, flatten(batches))
    assert {len(part) for part in batches} == {32}
    assert counts.total() == num_samples
    for score, share in shares.items():
        assert counts[score] / num_samples == pytest.approx(share, abs=tolerance)


def test_a_batch_of_markers_is_taken_from_thirty_six_scores():
    rows, limits = make_rows([0, 1, 2, 3] * 10), Counter(MARKERS)
    for part in sample_epoch(rows, **MARKED | {"batch": 32, "num_samples": 320}):
        assert not count_scores(rows, part) - limits
    (part,) = sample_epoch(rows, **MARKED | {"batch": 36, "num_samples": 36})
    assert count_scores(rows, part) == limits


@given(st.integers(0, 99), st.integers(1, 6))
def test_marker_frames_of_a_clip_are_not_repeated_until_all_have_come(epoch, num_rounds):
    settings = {"balance": "markers", "epoch": epoch, "num_samples": 12 * num_rounds}
    specs = sample_frames(make_rows([0] * 7, [1] * 5), **settings)
    for row, length in [(0, 7), (1, 5)]:
        frames = [spec.frame for spec in specs if spec.row == row]
        for start in range(0, len(frames), length):
            part = frames[start : start + length]
            assert len(set(part)) == len(part)


@pytest.mark.slow
def test_clips_of_a_score_are_sampled_by_their_unused_frames():
    """Weights 1 + 0.2 (min(n, 50) - 1): 1.8 for 5 frames, 10.8 for 50 and for 500."""
    rows = make_rows([0] * 5, [0] * 50, [0] * 500)
    counts = Counter(
        sample_frames(rows, num_samples=1, balance="markers", epoch=epoch)[0].row
        for epoch in range(400)
    )
    for row, weight in enumerate([1.8, 10.8, 10.8]):
        assert counts[row] / 400 == pytest.approx(weight / 23.4, abs=0.06)


@pytest.mark.slow
def test_an_exhausted_clip_has_weight_four_fifths():
    """After its only frame a clip weighs 0.8, another one with two frames left 1.2."""
    seconds = []
    for epoch in range(500):
        settings = MARKED | {"batch": 2, "epoch": epoch, "num_samples": 2}
        first, second = sample_frames(make_rows([0], [0, 0]), **settings)
        if first.row == 0:
            seconds.append(second.row)
    assert seconds.count(0) / len(seconds) == pytest.approx(0.8 / 2.0, abs=0.08)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 0}, r"arm\.recipe\.batch"),
        ({"copies": 0}, r"arm\.recipe\.copies from 1 to 6"),
        ({"copies": 7}, r"arm\.recipe\.copies from 1 to 6"),
        ({"balance": "disease"}, "frames cannot be balanced by 'disease'"),
        ({"balance": "markers"}, "t/plain: no frame_severity to balance by"),
        ({"balance": "frame_severity"}, "t/plain: no frame_severity to balance by"),
    ],
)
def test_settings_that_do_not_fit_the_rows_are_refused_in_one_line(changes, message):
    rows = [*make_rows([0, 1]), {"clip": "t/plain", "frame_severity": None, "num_frames": 3}]
    assert len(sample_frames(rows)) == 5
    with pytest.raises(ArmError, match=rf"^[^\n]*{message}[^\n]*$"):
        sample_frames(rows, **changes)


def test_a_spec_has_plain_values():
    specs = sample_frames(make_rows([0, 1, 2, 3]), batch=2, copies=2, balance="markers")
    assert {type(value) for s in specs for value in (s.row, s.frame, s.copy)} == {int}
    assert SampleSpec(1, 2) == SampleSpec(1, 2, None, 0)


WINDOW = {"batch": 4, "seed": 5, "epoch": 1, "by_frame": True}


def open_clips(specs):
    """How many clips are open at each sample: begun and not yet finished."""
    first = {s.row: n for n, s in reversed([*enumerate(specs)])}
    last = {s.row: n for n, s in enumerate(specs)}
    return [sum(first[row] <= n <= last[row] for row in first) for n in range(len(specs))]


@pytest.mark.parametrize("balance", [None, "frame_severity", "markers"])
def test_a_window_changes_the_order_of_frames_and_nothing_else(balance):
    rows = make_rows(*[[n % 4] * 6 for n in range(40)])
    whole = flatten(sample_epoch(rows, balance=balance, **WINDOW))
    windowed = flatten(sample_epoch(rows, balance=balance, window=5, **WINDOW))
    assert windowed != whole
    assert Counter(windowed) == Counter(whole)
    if balance is not None:
        scores = [
            [rows[s.row]["frame_severity"][s.frame] for s in own] for own in (whole, windowed)
        ]
        assert scores[0] == scores[1]


def rare_score_rows():
    """200 clips of two scores each; 10 of them also have the rarest one, 3."""
    others = [[0, 1], [1, 2], [2, 0]]
    return make_rows(*[(others[n % 3] + [3 if n < 10 else n % 3]) * 10 for n in range(200)])


def test_a_window_keeps_the_share_of_a_rare_score_in_every_batch():
    rows, settings = rare_score_rows(), WINDOW | {"batch": 32, "balance": "frame_severity"}
    whole, *windowed = (sample_epoch(rows, window=window, **settings) for window in (0, 16, 95))
    assert min(count_scores(rows, batch)[3] for batch in whole) > 0
    for batches in windowed:
        for batch, same in zip(batches, whole, strict=True):
            assert count_scores(rows, batch) == count_scores(rows, same)


def test_a_stream_holds_few_clips_more_to_keep_the_scores_of_a_batch():
    """Frames that are read, at the first use of their clip, and are in no batch yet."""
    rows = rare_score_rows()
    specs = flatten(sample_epoch(rows, window=16, balance="frame_severity", **WINDOW))
    first = {spec.row: n for n, spec in reversed([*enumerate(specs)])}
    begun = Counter(first[spec.row] for spec in specs)
    read = accumulate(begun[n] for n in range(len(specs)))
    assert max(number - n for n, number in enumerate(read)) < 32 * 30


def test_few_clips_are_open_within_a_window():
    rows = make_rows(*[[0] * 20 for _ in range(60)])
    windowed = flatten(sample_epoch(rows, window=6, **WINDOW))
    assert max(open_clips(windowed)) <= 7
    assert max(open_clips(flatten(sample_epoch(rows, **WINDOW)))) > 50


def test_a_window_of_all_clips_is_the_full_shuffle():
    rows = make_rows([0] * 9, [1] * 9, [2] * 9)
    whole = sample_epoch(rows, **WINDOW)
    assert all(sample_epoch(rows, window=window, **WINDOW) == whole for window in (0, 3, 99))


def test_batches_of_a_window_mix_nearly_as_well_as_a_full_shuffle():
    """The mean share of a batch that comes from its most frequent clip."""
    rows = make_rows(*[[0] * 32 for _ in range(100)])

    def largest_share(window):
        batches = sample_epoch(rows, window=window, **WINDOW | {"batch": 32})
        return sum(max(Counter(s.row for s in own).values()) for own in batches) / len(batches) / 32

    assert largest_share(0) < largest_share(32) < 2 * largest_share(0)


@pytest.mark.parametrize(("gigabytes", "clips"), [(1.0, 250), (0.2, 50), (1e-3, 16), (0, 0)])
def test_a_window_is_given_in_gigabytes_of_frames_as_the_network_sees_them(gigabytes, clips):
    rows = make_rows([0] * 39, [0] * 41)
    assert count_window(rows, View(num_frames=1, height=250, width=400), gigabytes) == clips
