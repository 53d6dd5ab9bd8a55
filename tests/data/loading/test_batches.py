from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from lus_ray.data import masks
from lus_ray.data.loading import batches as loading
from lus_ray.data.loading.batches import InMemory, Tracks, stack_batch
from lus_ray.data.loading.sampler import SampleSpec, sample_epoch
from lus_ray.data.transforms import augment_gare2021
from lus_ray.data.transforms.view import Track, View
from lus_ray.errors import StoreError

SINGLE = View(num_frames=1, height=2, width=3, num_samples=0)
BY_FRAME = {"view": SINGLE, "columns": (), "seed": 0, "by_frame": True}


def test_a_batch_has_frames_and_labels_as_numbers():
    rows = [{"clip": 0, "severity": 2, "sf_ratio": 100.0}]
    rows += [{"clip": 1, "severity": 0, "sf_ratio": 450.0}]
    settings = {"view": View(3, 2, 2), "columns": ("severity", "sf_ratio")}
    specs, frames = [SampleSpec(1, 0), SampleSpec(0, 0)], np.repeat(np.uint8([0, 1]), 20)
    batch = stack_batch(specs, rows, frames.reshape(2, 5, 2, 2).__getitem__, **settings)
    assert batch["frames"].shape == (2, 3, 2, 2)
    assert batch["frames"].dtype == torch.uint8
    assert batch["frames"][:, 0, 0, 0].tolist() == [1, 0]
    assert batch["severity"].tolist() == [0, 2]
    assert batch["sf_ratio"].tolist() == [0, 3]


def test_frames_of_another_size_are_refused():
    with pytest.raises(KeyError):
        InMemory({}).epochs([{"clip": "t/0"}], view=View(), columns=(), batch=1, seed=0)


def test_a_frame_that_the_clip_does_not_have_is_refused_in_one_line():
    frames = np.zeros((3, 2, 2), np.uint8)
    assert loading.take_frames(frames, View(), SampleSpec(0, 0, 2)).shape == (1, 2, 2)
    with pytest.raises(StoreError, match=r"^a clip has 3 frames and more labels[^\n]*$"):
        loading.take_frames(frames, View(), SampleSpec(0, 0, 3))


def make_tracks(*lengths):
    """Rows of a prediction table; score 0 of frame m of clip n is n + m / 100."""
    outputs = [[[n + m / 100, 0.5, 0.25, 0.0] for m in range(k)] for n, k in enumerate(lengths)]
    return [{"severity": n % 4, "outputs": scores} for n, scores in enumerate(outputs)]


def test_tracks_are_one_batch_of_all_clips_padded_with_zeros():
    epochs = Tracks().epochs(make_tracks(2, 5, 1), view=Track(), columns=("severity",), batch=1)
    (batch,) = epochs(0)
    assert batch["tracks"].shape == (3, 4, 5)
    assert batch["tracks"].dtype == torch.float64
    assert batch["lengths"].tolist() == [2, 5, 1]
    assert batch["severity"].tolist() == [0, 1, 2]
    assert batch["tracks"][0, 0].tolist() == [0.0, 0.01, 0.0, 0.0, 0.0]
    assert batch["tracks"][1, 0].tolist() == [1.0, 1.01, 1.02, 1.03, 1.04]
    assert batch["tracks"][2, :, 1:].abs().max() == 0
    (repeated,) = epochs(1)
    assert torch.equal(repeated["tracks"], batch["tracks"])


def test_tracks_have_the_frames_of_their_view():
    (batch,) = Tracks().epochs(make_tracks(3, 8), view=Track(max_frames=4), columns=())(0)
    assert batch["lengths"].tolist() == [3, 4]
    assert batch["tracks"][1, 0].tolist() == [1.01, 1.03, 1.05, 1.07]


@pytest.fixture
def clips():
    """Rows, frames and masks of two clips of three frames, in two mask schemes."""
    rng, rows, frames, ids = np.random.default_rng(0), [], {}, {}
    for name, scheme, num_classes in (("t/0", "dense", 7), ("t/1", "sparse", 4)):
        scores = [len(rows), 1, 2]
        rows.append({"clip": name, "frame_severity": scores, "mask_scheme": scheme})
        frames[name] = rng.integers(0, 256, (3, 2, 3), np.uint8)
        ids[name] = rng.integers(0, num_classes, (3, 2, 3), np.uint8)
    return rows, frames, ids


def test_a_batch_of_frames_has_the_score_and_mask_of_each_frame_and_its_copy(clips):
    rows, frames, ids = clips
    specs = [SampleSpec(1, 0, 2, 0), SampleSpec(0, 0, 1, 5), SampleSpec(1, 0, 0, 3)]
    settings = {"view": SINGLE, "columns": ("frame_severity",), "scheme": "sparse"}
    batch = stack_batch(specs, rows, frames.__getitem__, clip_masks=ids.__getitem__, **settings)
    assert batch["masks"].shape == batch["frames"].shape == (3, 1, 2, 3)
    assert batch["masks"].dtype == torch.uint8
    assert batch["frame_severity"].tolist() == [2, 1, 1]
    assert batch["frame_severity"].dtype == torch.int64
    assert batch["copy"].tolist() == [0, 5, 3]
    for number, spec in enumerate(specs):
        row = rows[spec.row]
        expected = masks.convert_masks(ids[row["clip"]][spec.frame], row["mask_scheme"], "sparse")
        assert (batch["masks"][number, 0].numpy() == expected).all()
        assert (batch["frames"][number, 0].numpy() == frames[row["clip"]][spec.frame]).all()
    plain = stack_batch(specs[:1], rows, frames.__getitem__, view=SINGLE, columns=())
    assert plain.keys() == {"frames"}


def test_clips_in_memory_give_batches_of_the_sampled_epoch_and_whole_clips(clips):
    rows, frames, ids = clips
    pixels = InMemory({(2, 3): frames}, {(2, 3): ids})
    (batch,) = pixels.epochs(rows, scheme="sparse", batch=6, **BY_FRAME)(0)
    ((*specs,),) = sample_epoch(rows, batch=6, seed=0, epoch=0, by_frame=True)
    settings = {"view": SINGLE, "columns": (), "scheme": "sparse"}
    expected = stack_batch(specs, rows, frames.__getitem__, clip_masks=ids.__getitem__, **settings)
    assert all(torch.equal(batch[name], value) for name, value in expected.items())
    assert next(pixels.epochs(rows, batch=1, **BY_FRAME)(0)).keys() == {"frames"}
    for stored, method in ((frames, pixels.clips), (ids, pixels.masks)):
        second, first = method(rows[::-1], SINGLE)
        assert np.array_equal(first, stored["t/0"])
        assert np.array_equal(second, stored["t/1"])


def test_an_epoch_of_copies_has_every_copy_of_every_frame_with_its_mask(clips):
    rows, frames, ids = clips
    rows = [row | {"mask_scheme": "dense"} for row in rows]
    pixels = InMemory({(2, 3): frames}, {(2, 3): ids})
    batches = list(pixels.epochs(rows, batch=4, copies=6, scheme="dense", **BY_FRAME)(0))
    assert len(batches) == 6 * 6 // 4
    whole = [
        torch.cat([batch.get(name, torch.zeros(4, dtype=int)) for batch in batches])
        for name in ("frames", "masks", "copy")
    ]
    sampled = augment_gare2021.make_copies(whole[0] / 255, *whole[1:])
    stored = [torch.from_numpy(np.concatenate([*part.values()]))[:, None] for part in (frames, ids)]
    copies = [augment_gare2021.make_copies(stored[0] / 255, stored[1], n) for n in range(6)]

    def pixels_of(*copies):
        return sorted(
            pair
            for frames, masks in copies
            for pair in zip(frames.flatten(1).tolist(), masks.flatten(1).tolist(), strict=True)
        )

    assert pixels_of(sampled) == pixels_of(*copies)


def test_the_size_of_a_view_has_all_that_changes_its_frames():
    plain, padded = (View(height=2, width=3, aspect=aspect) for aspect in (None, 1.3))
    assert (loading.size_of(plain), loading.size_of(padded)) == ((2, 3), (2, 3, 1.3))
    views = [plain, padded, *(replace(view, bicubic=True) for view in (plain, padded))]
    assert len({loading.size_of(view) for view in views}) == 4
    assert [loading.view_of(loading.size_of(view)) for view in views] == views
    assert loading.size_of(replace(plain, num_frames=1, num_samples=0)) == loading.size_of(plain)


def make_streams(num_labelled, num_unlabelled):
    """A labelled and an unlabelled stream of frames, each frame of a grey of its own."""
    frames, rows, view = {}, [], View(num_frames=1, height=8, width=8, num_samples=0)
    for clip, number, first in (("t/0", num_labelled, 0), ("t/1", num_unlabelled, 100)):
        greys = np.arange(first, first + number, dtype=np.uint8)
        frames[clip] = np.broadcast_to(greys[:, None, None], (number, 8, 8)).copy()
        rows.append({"clip": clip, "num_frames": number, "mask_scheme": "bline"})
    pixels = InMemory({(8, 8): frames}, {(8, 8): {"t/0": np.ones_like(frames["t/0"])}})
    settings = {"view": view, "columns": (), "batch": 2, "by_frame": True,
                "num_samples": max(num_labelled, num_unlabelled)}  # fmt: skip
    return loading.pair_streams(
        pixels.epochs(rows[:1], scheme="bline", seed=0, **settings),
        pixels.epochs(rows[1:], seed=1, **settings),
    )


@pytest.mark.parametrize(
    ("num_labelled", "num_unlabelled"), [(6, 4), (4, 6), (3, 20), (20, 3), (1, 1)]
)
def test_paired_streams_are_as_long_as_the_longer_one(num_labelled, num_unlabelled):
    batches = list(make_streams(num_labelled, num_unlabelled)(0))
    longer = max(num_labelled, num_unlabelled)
    assert len(batches) == max(1, longer // 2)
    for batch in batches:
        assert set(batch) == {"frames", "masks", "target_frames"}
        assert batch["frames"].shape == batch["target_frames"].shape == batch["masks"].shape
        assert batch["frames"].max() < 100 <= batch["target_frames"].min()
    for name, number in (("frames", num_labelled), ("target_frames", num_unlabelled)):
        counts = Counter(torch.cat([batch[name][:, 0, 0, 0] for batch in batches]).tolist())
        assert max(counts.values()) - min(counts.values()) <= 1
        assert len(counts) == min(number, max(1, longer // 2 * 2))


def test_pairs_of_streams_change_with_the_epoch():
    streams = make_streams(6, 6)

    def pairs(epoch):
        names = ("frames", "target_frames")
        return [
            pair
            for batch in streams(epoch)
            for pair in zip(*(batch[name][:, 0, 0, 0].tolist() for name in names), strict=True)
        ]

    assert pairs(0) == pairs(0)
    assert sorted(pairs(0)) != sorted(pairs(1))


class Recorded(dict):
    """Frames by clip, and the clips that were read."""

    def __init__(self, frames):
        super().__init__(frames)
        self.clips = []

    def __getitem__(self, clip):
        self.clips.append(clip)
        return super().__getitem__(clip)


def test_an_epoch_that_starts_later_reads_no_earlier_clip():
    frames = Recorded({f"t/{n}": np.full((1, 8, 8), n, np.uint8) for n in range(6)})
    rows = [{"clip": clip, "num_frames": 1} for clip in frames]
    view = View(num_frames=1, height=8, width=8)
    epochs = InMemory({(8, 8): frames}).epochs(rows, view=view, columns=(), batch=2, seed=0)
    whole = [batch["frames"] for batch in epochs(1)]
    order, frames.clips = frames.clips, []
    assert all(map(torch.equal, (b["frames"] for b in epochs(1, 2)), whole[2:]))
    assert (len(whole), frames.clips) == (3, order[-2:])
    (pair,) = loading.pair_streams(epochs, epochs)(1, 2)
    assert torch.equal(pair["target_frames"], whole[2])
    assert list(epochs(1, 3)) == []
