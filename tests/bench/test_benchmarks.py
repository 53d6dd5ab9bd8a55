"""Every benchmark has its rows, rivals and targets, and refuses unequal work."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch

from lus_ray import bench
from lus_ray.bench import augment, clips, gpu, mcdropout, reads, search, serve, uninorm
from lus_ray.bench.measure import Result, refuse
from lus_ray.bench.report import BenchReport
from lus_ray.data.transforms.view import View
from lus_ray.errors import InputError, LusError
from lus_ray.nets import MarkerUNet, ReleasedDeepLab, ReleasedUNetPlusPlus
from tests.bench.test_search import TRIALS

FULL = (pytest.mark.ray, pytest.mark.slow, pytest.mark.full)
ONE_BY_ONE = ["one by one"]
NETS = {
    "U-Net": partial(MarkerUNet, width=4),
    "U-Net++": partial(ReleasedUNetPlusPlus, width=8),
    "DeepLab": partial(ReleasedDeepLab, width=8),
}
FRAME_READERS, VIDEO_READER = ["DataLoader, PNG", "DataLoader, mp4"], ["DataLoader, mp4"]
FILE_READER = ["DataLoader, Parquet"]
SMALL_CLIPS = {"num_clips": 2, "num_frames": 20, "size": 64}
BENCHMARKS = [
    ("augment", {"shapes": {"clips": (2, 2, 64, 64), "frames": (3, 1, 64, 80),
                            "six steps": (6, 1, 64, 64)}},
     {"clips": (2, ONE_BY_ONE), "frames": (2, ONE_BY_ONE), "six steps": (2, ONE_BY_ONE)}, ()),
    ("uninorm", {"num_clips": 2, "num_frames": 5},
     {"gradient to neutral": (50, ["tree pair by pair, as published"]),
      "gradient to neutral, by levels": (None, ["tree by levels, all clips at once"])}, ()),
    ("mcdropout", {"nets": NETS, "view": View(1, 40, 60, 0), "num_samples": 2},
     {name: (2, ["whole passes"]) for name in ("ensemble of 3", *NETS)}, ()),
    ("train", {"num_steps": 1, "side": 32},
     {name: (1 / 1.03, [f"bare loop of {name}"]) for name in ("FrameCNN", "TSM", "U-Net")},
     pytest.mark.full),
    ("experts", {"num_patients": 16, "kinds": ("NN",), "labels": ("severity",)},
     {"1 experts, 3 folds": (1.7, ["a loop of scikit-learn"])}, FULL),
    ("cells", {"num_patients": 16, "num_draws": 8, "networks": ("cnn",)},
     {"4 cells against one after another": (1.6, ["one after another"]),
      "4 cells against two processes that stay": (1, ["two processes that stay"]),
      "added per cell on a Ray cluster": (3000, [])}, FULL),
    ("reads", {**SMALL_CLIPS, "num_clips": 4, "num_held": 2},
     {**dict.fromkeys(reads.EPOCHS, (5, FRAME_READERS)),
      "first batch, decoding included": (1, FRAME_READERS),
      "frames, streamed": (3, FRAME_READERS),
      "frames, streamed, of the same files": (0.9, FILE_READER),
      "frames, streamed, first batch": (1, FRAME_READERS + FILE_READER),
      "frames, streamed from storage 50 ms away": (None, ["the same from a disk"]),
      "frames, streamed from storage 50 ms away, of its requests":
          (0.8, ["requests alone"])}, FULL),
    ("clips", {**SMALL_CLIPS, "num_many": 400, "num_shares": 2},
     {**dict.fromkeys(clips.WINDOWS, (5, VIDEO_READER)),
      "windows, streamed": (5, VIDEO_READER),
      "windows, streamed, of the same files": (0.9, FILE_READER),
      "windows, streamed, first batch": (1, VIDEO_READER + FILE_READER),
      "400 clips": (0.8, ["a store of 4"]),
      "streamed from 2 shares of memory": (0.8, ["a store of one share"])}, FULL),
    ("search", {"num_seeds": 1, "num_patients": 16, "num_samples": 2, "num_epochs": 1},
     {"to the best validation score that both reach": (1.3, [search.RIVAL]),
      "all 2 samples": (None, [search.RIVAL])}, FULL),
    ("serve", {"turns": 1, "clients": (1, 2), "seconds": 0.3, "num_alone": 4,
               "variants": ("one process",)},
     {f"path of {serve.RIVAL}": (None, []), "started, one process": (serve.READY_MS, []),
      "path, one process": (3, []), "clips at equal p99, one process": (0.95, [serve.RIVAL]),
      "idle, one process": (serve.IDLE_MS, [])}, FULL),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "sizes", "expected"),
    [pytest.param(*case, id=case[0], marks=marks) for *case, marks in BENCHMARKS],
)
def test_a_benchmark_has_its_rows_targets_and_rivals(name: str, sizes: dict, expected: dict):
    results = bench.measure(name, 1, **sizes)
    assert list(results) == list(expected)
    for row, measured in results.items():
        names = [rival.name.partition(" (at most")[0] for rival in measured.rivals]
        assert (measured.target, names) == expected[row]
        assert all(r.low <= r.ratio <= r.high for r in measured.rivals)


SECOND = TRIALS[1]
HALF, NAN = torch.tensor([0.5]), torch.tensor([torch.nan])
GREY = torch.ones(1, 1, 4, 4)


def returns(*values: torch.Tensor) -> Callable[..., tuple]:
    return lambda **sizes: values


def of_batch(factor: float) -> Callable[..., list]:
    return lambda batch: [tuple(images * factor for images in batch)]


check_samples = partial(search.check_samples, TRIALS, at_least=2)
UNEQUAL = [
    (partial(augment.check_equal, smooth=(GREY,)), (of_batch(1), of_batch(torch.nan), "b"),
     r"100\.0% of the greys of 'b'"),
    (uninorm.check_equal, (returns(HALF, HALF), returns(HALF, HALF + 1e-3), "b"),
     "gradients to the neutral elements of 'b' differ from ours by 1"),
    (uninorm.check_equal, (returns(HALF), returns(NAN), "b"), "values of 'b' differ"),
    (mcdropout.check_equal, (returns(GREY, 0 * GREY), returns(GREY, 0 * GREY), "b"),
     "samples are alike"),
    (gpu.check_close, (1.0, 1.2), "the first step has a loss of 1.2 where ours has 1.0"),
    (gpu.check_close, (1.0, float("nan")), "the first step has a loss of nan"),
    (reads.check_equal, (returns(GREY), returns(GREY + 1), "b"),
     "batch 0 of 'b' holds other pixels than ours"),
    (reads.check_equal, (returns(GREY), returns(), "b"), "'b' gives fewer batches than ours"),
    (partial(clips.check_counts, expected=152, kind="frames"), (lambda: 152, lambda: 148, "b"),
     "148 frames were read of 152"),
    (check_samples, ({**TRIALS, 1: replace(SECOND, settings={"lr": 0.2})},),
     "the settings of sample 1 are"),
    (check_samples, ({**TRIALS, 1: replace(SECOND, score=0.7)},), "the score of sample 1 are"),
    (check_samples, ({0: TRIALS[0]},), "fewer than 2 samples"),
]  # fmt: skip


@pytest.mark.parametrize(("check", "values", "reason"), UNEQUAL)
def test_unequal_work_gets_no_ratio(check: Callable[..., None], values: tuple, reason: str):
    with pytest.raises(LusError, match=reason):
        check(*values)


def test_samples_that_end_at_another_time_are_equal():
    check_samples({number: replace(trial, ended_s=9.0) for number, trial in TRIALS.items()})


MEASURED = Result(repeats=1, threads=1, wall_ms=1.0, cpu_s=0.0)


def test_a_refused_benchmark_leaves_the_others(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gpu, "compare", partial(refuse, "gpu"))
    monkeypatch.setattr(uninorm, "compare", lambda: [("a clip", MEASURED)])
    report = bench.run(["gpu", "uninorm"])
    assert report.measures == {"uninorm": {"a clip": MEASURED}}
    assert report.refused == {"gpu": "gpu; no ratio is given for unequal work"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, so that it is measured")
def test_without_a_gpu_it_is_skipped_with_a_line():
    lines: list[str] = []
    assert bench.run(["gpu"], notify=lines.append).measures == {"gpu": {}}
    assert lines == ["gpu: this machine has no GPU"]


def test_an_unknown_benchmark_is_refused():
    with pytest.raises(InputError, match="no benchmark 'speed'; the nearest of"):
        bench.run(["speed"])


def test_a_report_is_a_table_and_plain_json_where_a_time_never_reached_is_null():
    never = replace(MEASURED, wall_ms=float("inf"), target=1.0)
    rows = {"a clip": MEASURED, "a frame": replace(MEASURED, target=0.5), "a score": never}
    report = BenchReport("2026-01-02T03:04:05+00:00", {"uninorm": rows})
    head, blank, *table = report.text().splitlines()
    assert head.startswith("2026-01-02T03:04:05+00:00, ")
    assert (blank, len(table)) == ("", 4)
    assert table[2].split()[-5:] == ["ms", "lost", "0.0000", "1", "1"]
    assert "never" in table[3]
    contents = json.loads(json.dumps(report.contents(), allow_nan=False))
    measured = contents["measures"]["uninorm"]
    assert (measured["a clip"]["repeats"], measured["a score"]["wall_ms"]) == (1, None)
    assert {"processor", "cores", "torch", "ray"} < contents["machine"].keys()
