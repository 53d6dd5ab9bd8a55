import numpy as np
import pytest

from lus_ray.clip import make_row
from lus_ray.data import store
from lus_ray.data.loading import streaming
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


def test_a_shard_stays_open_from_batch_to_batch(clips):
    location = list(map(str, store.locate_clips(clips)["t/1"]))
    item = {"locations": [location], "seeds": [[0]], "chosen": [[-1]]}
    batch = streaming.read_samples(item, store_path=str(clips), view=VIEW)
    (shard,) = store.list_shards(clips)
    shard.rename(shard.with_suffix(".elsewhere"))
    assert streaming.read_samples(item, store_path=str(clips), view=VIEW) == batch
