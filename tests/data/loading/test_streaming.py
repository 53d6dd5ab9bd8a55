import numpy as np
import psutil
import pytest

from lus_ray.clip import make_row
from lus_ray.data import store
from lus_ray.data.loading import stream_plan, streaming
from lus_ray.data.loading.sampler import SampleSpec, sample_epoch
from lus_ray.data.transforms.view import View
from lus_ray.errors import StoreError

VIEW = View(num_frames=2, height=8, width=8)
SIGNATURE = b"bytes that the leak gate compares" * 100


@pytest.fixture
def clips(tmp_path):
    """Three clips with masks."""
    rng = np.random.default_rng(0)
    with store.stage_source(tmp_path, "t") as work, store.Writer(work.folder, "t") as writer:
        for number in range(3):
            frames = rng.integers(0, 256, (4, 8, 8), np.uint8)
            masks = np.zeros_like(frames)
            who = {"clip": f"t/{number}", "patient": f"t/p{number}", "source": "t"}
            writer.add(
                make_row(frames, masks=masks, mask_scheme="bline", signature=SIGNATURE, **who)
            )
    return tmp_path


def test_locations_are_read_once_for_frames_and_masks(clips):
    rows = [{"clip": f"t/{number}"} for number in (2, 0)]
    pixels = streaming.StreamedFrames(str(clips))
    first = list(pixels.clips(rows, VIEW))
    (clips / "store.json").write_text("damaged since")
    assert np.array_equal(list(pixels.clips(rows, VIEW)), first)
    assert len(list(pixels.masks(rows, VIEW))) == 2
    with pytest.raises(StoreError):
        list(streaming.StreamedFrames(str(clips)).clips(rows, VIEW))


def test_locations_are_read_without_signatures(clips):
    (shard,) = store.list_shards(clips)
    whole = shard.read_bytes()
    assert SIGNATURE[:33] in whole
    shard.write_bytes(whole.replace(SIGNATURE[:33], bytes(33)))
    with pytest.raises(StoreError, match="damaged"):
        store.read_index(clips)
    assert list(store.locate_clips(clips)) == ["t/0", "t/1", "t/2"]
    assert len(list(streaming.StreamedFrames(str(clips)).clips([{"clip": "t/1"}], VIEW))) == 1


def read_epoch(clips, **settings):
    rows = [{"clip": name, "num_frames": 4} for name in store.locate_clips(clips)]
    epochs = streaming.StreamedFrames(str(clips)).epochs(
        rows, view=VIEW, columns=(), batch=2, seed=0, **settings
    )
    return list(epochs(0))


def test_a_shard_stays_open_from_block_to_block(clips):
    block = stream_plan.describe([[((0, 0), SampleSpec(0, 7))]], [store.locate_clips(clips)["t/1"]])
    samples, same = np.zeros((2, 1, 2, 8, 8), np.uint8)
    streaming.read_samples(block, {"frames": samples}, store_path=str(clips), view=VIEW)
    (shard,) = store.list_shards(clips)
    shard.rename(shard.with_suffix(".elsewhere"))
    streaming.read_samples(block, {"frames": same}, store_path=str(clips), view=VIEW)
    assert samples.any()
    assert np.array_equal(same, samples)


def test_a_short_epoch_does_not_start_ray_data(clips, monkeypatch):
    monkeypatch.delattr(streaming, "_read_with_ray")
    assert len(read_epoch(clips)) == 2


@pytest.mark.parametrize("by_frame", [False, True])
def test_blocks_hold_the_reads_of_an_epoch_in_order_and_begin_small(monkeypatch, by_frame):
    size = VIEW.num_frames * 64
    sizes = {"READ_BYTES": 1, "EARLY_BYTES": 4 * size, "OWN_BYTES": 12 * size}
    for name, value in (sizes | {"BLOCK_BYTES": 32 * size}).items():
        monkeypatch.setattr(stream_plan, name, value)
    rows = [{"clip": str(n), "num_frames": 4} for n in range(40)]
    sampled = sample_epoch(rows, batch=8, seed=0, epoch=0, by_frame=by_frame, window=4)
    reads = stream_plan.plan_reads(sampled, by_frame=by_frame)
    places = [(str(n), "shard", n, 0) for n in range(40)]
    blocks, num_early = stream_plan.to_blocks(reads, VIEW)
    read = [stream_plan.describe(block, places) for block in blocks]
    assert [place["clip"] for block in read for place in block["clips"]] == [
        str(spec.row) for (_, spec), *_ in reads
    ]
    sizes = [sum(map(len, block["seeds"])) for block in read]
    assert (sizes[:3], num_early) == ([4, 4, 4], 3)
    assert 28 <= max(sizes) <= 32
    assert sum(sizes) == sum(map(len, sampled))


def test_a_store_of_ten_times_the_size_takes_no_more_memory(tmp_path):
    num_clips, shape = 16, (8, 360, 360)
    share = num_clips * np.prod(shape)
    small, large = (
        repeated_clips(tmp_path / f"{times}", times * num_clips, np.zeros(shape, np.uint8))
        for times in (1, 10)
    )
    for _ in range(2):  # what the allocator keeps is not the stream's
        least = peak_memory(small, times=10)
    assert peak_memory(large, times=1) < least + 2 * share


def repeated_clips(folder, number, frames):
    with store.stage_source(folder, "t") as work, store.Writer(work.folder, "t") as writer:
        for name in (f"t/{number:03d}" for number in range(number)):
            writer.add(make_row(frames, clip=name, patient=name, source="t"))
    return folder


def peak_memory(clips, *, times):
    """The most memory of this process, without files and shared memory, in so many epochs."""
    settings = {"batch": 16, "seed": 0, "by_frame": True, "window": 4}
    view = View(num_frames=1, height=360, width=360, num_samples=0)
    rows = [{"clip": name, "num_frames": 8} for name in store.locate_clips(clips)]
    epochs = streaming.StreamedFrames(str(clips)).epochs(rows, view=view, columns=(), **settings)
    process = psutil.Process()
    used = [process.memory_info() for number in range(times) for _ in epochs(number)]
    return max(memory.rss - memory.shared for memory in used)
