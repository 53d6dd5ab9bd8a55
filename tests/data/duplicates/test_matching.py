from collections.abc import Iterator
from itertools import combinations, islice
from pathlib import Path

import av
import numpy as np
import pytest

from lus_ray.data.duplicates.matching import MIN_SIMILARITY, find_matches
from lus_ray.data.duplicates.patch_index import MAX_SHARED
from lus_ray.data.duplicates.signature import VERSION, compute_signature
from lus_ray.data.ingest import phantom
from tests.planted import CHANGES, Frames, brightened, cropped, h264, mirrored, rescaled, tissue

OTHERS = [compute_signature(tissue(seed)) for seed in range(100, 106)]


ALWAYS = (h264, cropped, mirrored)
"""Changes of every kind: other pixels, another view, another orientation."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(change, id=change.__name__, marks=() if change in ALWAYS else pytest.mark.full)
        for change in CHANGES
    ],
)
def test_a_changed_copy_is_found_among_other_clips(change):
    frames = tissue(0)
    copy = change(frames, np.random.default_rng(0))
    signatures = [compute_signature(frames), *OTHERS, compute_signature(copy)]
    (match,) = find_matches(signatures, range(len(signatures)))
    assert (match.one, match.other) == (0, 7)
    assert match.similarity >= MIN_SIMILARITY


def test_a_match_has_the_scale_and_mirroring_between_its_clips():
    frames, rng = tissue(1), np.random.default_rng(0)
    copy = mirrored(cropped(frames, rng, share=0.2), rng)
    (match,) = find_matches([compute_signature(frames), compute_signature(copy)], [0, 1])
    assert match.mirrored
    assert match.scale == pytest.approx(1 / 0.8, rel=0.05)


def test_all_changes_at_once_are_found():
    rng = np.random.default_rng(0)
    frames = tissue(2)
    copy = h264(rescaled(brightened(cropped(frames, rng), rng), rng), rng)
    assert len(find_matches([compute_signature(frames), compute_signature(copy)], [0, 1])) == 1


def test_more_copies_than_may_share_a_hash_are_joined():
    frames, rng = tissue(3), np.random.default_rng(0)
    copies = [compute_signature(brightened(frames, rng)) for _ in range(MAX_SHARED + 2)]
    matches = find_matches(copies, range(len(copies)))
    joined = {0}
    for match in matches:
        if match.one in joined:
            joined.add(match.other)
    assert joined == set(range(len(copies)))


def test_the_index_finds_what_a_comparison_of_all_pairs_finds():
    rng = np.random.default_rng(0)
    stills = [tissue(seed, num_frames=1) for seed in range(5)]
    copies = [
        change(stills[k], rng) for k, change in enumerate((h264, cropped, mirrored, rescaled))
    ]
    signatures = [compute_signature(frames) for frames in (*stills, *copies)]
    numbers = range(len(signatures))
    pairs = [
        (one, other, match.similarity, match.votes)
        for one, other in combinations(numbers, 2)
        for match in find_matches([signatures[one], signatures[other]], [0, 1])
    ]
    found = find_matches(signatures, numbers)
    assert [(match.one, match.other, match.similarity, match.votes) for match in found] == pairs
    assert [pair[:2] for pair in pairs] == [(0, 5), (1, 6), (2, 7), (3, 8)]


@pytest.mark.slow
@pytest.mark.parametrize("num_frames", [40, 1])
def test_clips_and_still_images_that_share_only_fan_and_label_do_not_match(num_frames):
    signatures = [compute_signature(tissue(seed, num_frames)) for seed in range(6)]
    assert find_matches(signatures, range(6)) == []


def test_a_still_image_is_found_again_after_a_codec():
    still = tissue(0, num_frames=1)
    pair = [compute_signature(frames) for frames in (still, h264(still, np.random.default_rng(0)))]
    assert len(find_matches([*pair, *OTHERS], range(8))) == 1


SAME = compute_signature(tissue(0))
NEWER = bytes([VERSION + 1]) + SAME[1:]
BLANKS = [compute_signature(np.full((5, 40, 60), value, np.uint8)) for value in (0, 128, 255)]


@pytest.mark.parametrize(
    ("signatures", "known_groups", "expected"),
    [
        ([SAME, SAME], [0, 0], []),
        ([SAME, SAME], [0, 1], [(0, 1)]),
        ([None, SAME, None, SAME], range(4), [(1, 3)]),
        ([None, SAME], range(2), []),
        ([], [], []),
        ([NEWER, NEWER, SAME], range(3), []),
        *(([blank, blank], [0, 1], []) for blank in BLANKS),
    ],
)
def test_matches_need_two_groups_and_two_signatures_with_content(
    signatures, known_groups, expected
):
    matches = find_matches(signatures, known_groups)
    assert [(match.one, match.other) for match in matches] == expected


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 500), (3, 500, 3), (1, 20, 20)])
def test_any_shape_has_a_signature(shape):
    frames = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    text = compute_signature(frames)
    assert text[0] == VERSION
    assert all(match.similarity > 0.9 for match in find_matches([text, text], [0, 1]))


def test_a_signature_takes_tens_of_kilobytes():
    assert all(len(text) < 100_000 for text in OTHERS)
    assert compute_signature(tissue(0)) == compute_signature(tissue(0))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("patients", "frames"), [(6, 6), pytest.param(24, 30, marks=pytest.mark.full)]
)
def test_phantom_clips_of_different_patients_are_not_joined(patients, frames):
    rows = phantom.clips(patients=patients, clips=1, frames=frames)
    signatures = [compute_signature(row["frames"]) for row in rows]
    assert find_matches(signatures, range(patients)) == []


@pytest.mark.full
@pytest.mark.data
@pytest.mark.slow
def test_planted_copies_of_real_clips_are_found(shared_data):
    """At least 99 of 100: eleven clips of both sources, nine changes each."""
    files = [*_files(shared_data, "covid_blues", step=45), *_files(shared_data, "pocovid", step=25)]
    rng = np.random.default_rng(0)
    clips = [_decoded(path) for path in files]
    copies = [change(frames, rng) for change in CHANGES for frames in clips]
    signatures = [compute_signature(frames) for frames in (*clips, *copies)]
    # All copies share a known group, so that only clips are compared with copies.
    belongs = [*range(len(clips)), *([len(clips)] * len(copies))]
    matched = {(match.one, match.other) for match in find_matches(signatures, belongs)}
    planted = {(k % len(clips), len(clips) + k) for k in range(len(copies))}
    assert len(planted) >= 90
    assert len(planted - matched) <= len(planted) // 100
    assert matched <= planted


@pytest.mark.full
@pytest.mark.data
@pytest.mark.slow
def test_clips_of_different_patients_on_one_scanner_are_not_joined(shared_data):
    """One clip of each COVID-BLUES patient, and all of the four healthy ones of one scanner."""
    blues = list(_files(shared_data, "covid_blues", step=6))
    healthy = sorted((shared_data / "pocovid").rglob("Reg_pat*"))
    patients = [path.name.split("_")[1][:4] for path in (*blues, *healthy)]
    numbers = {name: number for number, name in enumerate(sorted(set(patients)))}
    signatures = [compute_signature(_decoded(path)) for path in (*blues, *healthy)]
    assert len(blues) > 40
    assert len(healthy) == 24
    assert find_matches(signatures, [numbers[name] for name in patients]) == []


@pytest.mark.data
def test_the_pair_that_pocus_lists_under_two_patients_is_found(shared_data):
    folder = shared_data / "pocovid" / "pocus_videos"
    names = ("Vir_or_Pneu_prospective_file4*", "Vir_prospective_file1*", "Vir_prospective_file2*")
    signatures = [compute_signature(_decoded(next(folder.rglob(name)))) for name in names]
    assert [(match.one, match.other) for match in find_matches(signatures, range(3))] == [(0, 1)]


def _files(shared_data: Path, source: str, *, step: int) -> Iterator[Path]:
    videos = (p for p in (shared_data / source).rglob("*") if "videos" in str(p) and p.is_file())
    yield from sorted(videos)[::step]


def _decoded(path: Path) -> Frames:
    with av.open(str(path)) as container:
        frames = islice(container.decode(video=0), 150)
        return np.stack([frame.to_ndarray(format="gray") for frame in frames])
