"""A long clip is predicted in parts: never all of it as float, and with the same bits."""

from functools import partial

import numpy as np
import pytest
import torch

from lus_ray.data.loading.batches import InMemory, size_of
from lus_ray.data.transforms.view import View
from lus_ray.nets import FrameCNN, ReverseTransfer, UNet
from lus_ray.predictor import predict
from lus_ray.runs import cell_predictions
from lus_ray.tasks import FrameDiagnosis, FrameScore, Segmentation, frame_diagnosis, segmentation
from lus_ray.tasks.frame_score import CHUNK
from lus_ray.tasks.task import to_unit_range

VIEW = View(num_frames=1, height=32, width=40, num_samples=0)
UNET = partial(UNet, widths=(4, 8))
TASKS = {
    "scores": lambda: FrameScore(partial(FrameCNN, width=8), view=VIEW),
    "diagnosis": lambda: FrameDiagnosis(partial(ReverseTransfer, widths=(4, 8)), view=VIEW),
    "masks": lambda: Segmentation(UNET, "sparse", view=VIEW),
}
NUM_FRAMES = 2 * CHUNK + 7


@pytest.fixture(params=TASKS)
def task(request, monkeypatch):
    """A task of each kind, for which 64 frames are a part."""
    monkeypatch.setattr(segmentation, "CHUNK_PIXELS", CHUNK * 32 * 40)
    monkeypatch.setattr(frame_diagnosis, "CHUNK_PIXELS", CHUNK * 32 * 40)
    torch.manual_seed(0)
    return TASKS[request.param]().eval()


def clip(num_frames=NUM_FRAMES):
    return np.random.default_rng(0).integers(0, 256, (num_frames, 32, 40), np.uint8)


def floats(task):
    """The number of frames of every float tensor that the task is given from now on."""
    given = []
    for name in ("predict", "count_pixels"):
        if hasattr(task, name):
            setattr(task, name, noting(getattr(task, name), given))
    return given


def noting(action, given):
    def noted(frames, *others):
        given.append(len(frames))
        return action(frames, *others)

    return noted


def test_a_clip_in_parts_has_the_bits_of_the_clip_at_once(task):
    with torch.inference_mode():
        whole = task.predict(to_unit_range(torch.from_numpy(clip())[:, None]))
    given = floats(task)
    said = predict(task, clip())
    assert given == [CHUNK, CHUNK, 7]
    for name, values in whole.items():
        assert said[name].tobytes() == values.tobytes()
        assert said[name].dtype == values.dtype


@pytest.mark.parametrize("listed", [None, [(n, n % 6) for n in range(0, NUM_FRAMES, 2)]])
def test_a_clip_measured_in_parts_has_the_bits_of_the_clip_at_once(monkeypatch, listed):
    torch.manual_seed(0)
    task = TASKS["masks"]().eval()
    ids = np.random.default_rng(1).integers(0, 4, (NUM_FRAMES, 32, 40), np.uint8)
    pixels = InMemory({size_of(VIEW): {"a": clip()}}, {size_of(VIEW): {"a": ids}})
    row = {"clip": "a", "mask_scheme": "sparse", "images": listed}
    given = floats(task)
    monkeypatch.setattr(segmentation, "CHUNK_PIXELS", CHUNK * 32 * 40)
    (said,) = cell_predictions.predict_clips(task, [row], pixels, "cpu")
    num_seen = len(listed or clip())
    assert given == [CHUNK] * (num_seen // CHUNK) + [num_seen % CHUNK]
    monkeypatch.setattr(segmentation, "CHUNK_PIXELS", 32 * 40 * 10**6)
    (whole,) = cell_predictions.predict_clips(task, [row], pixels, "cpu")
    assert given[-1] == num_seen
    assert (said["counts"] == whole["counts"]).all()
    assert said["bins"] == pytest.approx(whole["bins"])
