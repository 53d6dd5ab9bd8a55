"""A long clip is predicted in chunks: never all of it as float, and with the same bits."""

from functools import partial

import numpy as np
import pytest
import torch

from lus_ray.data.loading.batches import InMemory, size_of
from lus_ray.data.transforms.view import View
from lus_ray.nets import FrameCNN, ReverseTransfer, UNet
from lus_ray.predictor import predict
from lus_ray.runs import cell_predictions
from lus_ray.tasks import FrameDiagnosis, FrameScore, Segmentation
from lus_ray.tasks import task as tasks
from lus_ray.tasks.task import to_unit_range

VIEW = View(num_frames=1, height=32, width=40, num_samples=0)
TASKS = {
    "scores": lambda: FrameScore(partial(FrameCNN, width=8), view=VIEW),
    "diagnosis": lambda: FrameDiagnosis(partial(ReverseTransfer, widths=(4, 8)), view=VIEW),
    "masks": lambda: Segmentation(partial(UNet, widths=(4, 8)), "sparse", view=VIEW),
}
CHUNK = tasks.CPU_PIXELS // (32 * 40)
NUM_FRAMES = 2 * CHUNK + 7
FRAMES = np.random.default_rng(0).integers(0, 256, (NUM_FRAMES, 32, 40), np.uint8)


def make(name):
    torch.manual_seed(0)
    return TASKS[name]().eval()


def record_lengths(task):
    """The number of frames of every float tensor that the task receives from now on."""
    lengths = []

    def recording(action):
        def record(frames, *arguments):
            lengths.append(len(frames))
            return action(frames, *arguments)

        return record

    for name in ("predict", "count_pixels"):
        if hasattr(task, name):
            setattr(task, name, recording(getattr(task, name)))
    return lengths


@pytest.mark.parametrize("name", TASKS)
def test_a_clip_in_chunks_has_the_bits_of_the_whole_clip(name):
    task = make(name)
    with torch.inference_mode():
        whole = task.predict(to_unit_range(torch.from_numpy(FRAMES)[:, None]))
    lengths = record_lengths(task)
    prediction = predict(task, FRAMES)
    assert lengths == [CHUNK, CHUNK, 7]
    for column, values in whole.items():
        assert prediction[column].dtype == values.dtype
        assert prediction[column].tobytes() == values.tobytes()


@pytest.mark.parametrize("listed", [None, [(n, n % 6) for n in range(0, NUM_FRAMES, 2)]])
def test_pixel_counts_in_chunks_are_those_of_one_pass(monkeypatch, listed):
    task = make("masks")
    ids = np.random.default_rng(1).integers(0, 4, (NUM_FRAMES, 32, 40), np.uint8)
    pixels = InMemory({size_of(VIEW): {"a": FRAMES}}, {size_of(VIEW): {"a": ids}})
    row = {"clip": "a", "mask_scheme": "sparse", "images": listed}
    lengths, results = record_lengths(task), []
    for num_pixels in (CHUNK * 32 * 40, 32 * 40 * 10**6):
        monkeypatch.setattr(tasks, "CPU_PIXELS", num_pixels)
        results += cell_predictions.predict_clips(task, [row], pixels, "cpu")
    num_frames = len(listed or FRAMES)
    assert lengths == [CHUNK] * (num_frames // CHUNK) + [num_frames % CHUNK, num_frames]
    assert (results[0]["counts"] == results[1]["counts"]).all()
    assert results[0]["bins"] == pytest.approx(results[1]["bins"])


def test_a_cell_reports_how_many_clips_it_predicted(monkeypatch):
    monkeypatch.setattr(cell_predictions, "REPORT_S", -1.0)
    reports = []
    predicted = cell_predictions.predict_and_report(
        lambda task, rows: iter([{}] * len(rows)), reports.append, None, [{}] * 3
    )
    assert next(predicted) == {}
    assert not reports  # a clip counts when the next one is asked for
    assert list(predicted) == [{}, {}]
    assert reports == [{"predicted": number, "clips": 3} for number in (1, 2, 3)]
