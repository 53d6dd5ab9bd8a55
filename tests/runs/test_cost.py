"""What a cell costs, with what its workers spent in processes and on machines of their own."""

import json
import sys
import threading
from pathlib import Path

import pytest

from lus_ray.errors import StoreError
from lus_ray.runs import cost
from lus_ray.runs.cell import Cell
from lus_ray.runs.layout import RunFolder

CELL = {"wall_s": 9.0, "cpu_s": 1.5, "gpu_s": 0.0, "peak_mb": 300.0, "node": "head"}


def test_seconds_of_workers_are_added_and_the_highest_peaks_count(tmp_path):
    folder = RunFolder(tmp_path).cell(Cell("unet", 0))
    folder.path.mkdir(parents=True)
    for rank, gpu in enumerate((True, False)):
        spent = {"wall_s": 7.0, "cpu_s": 6.0, "gpu_s": 7.0 * gpu, "peak_mb": 500.0 + rank}
        spent |= {"peak_gpu_mb": 900.0} if gpu else {}
        (folder.path / folder.worker_cost(rank)).write_text(json.dumps(spent))
    assert cost.add_workers(CELL, folder) == {
        "wall_s": 9.0, "cpu_s": 13.5, "gpu_s": 7.0, "peak_mb": 501.0, "peak_gpu_mb": 900.0,
        "node": "head",
    }  # fmt: skip


def test_a_meter_counts_the_cpu_of_this_process():
    meter = cost.CostMeter("cpu")
    sum(number * number for number in range(300_000))
    spent = meter.stop()
    assert 0 < spent["cpu_s"] <= spent["wall_s"] + 0.1
    assert spent["gpu_s"] == 0
    assert "peak_gpu_mb" not in spent


@pytest.mark.skipif(sys.platform != "linux", reason="names of processes are those of Linux")
def test_a_process_may_have_a_name_that_is_cut_within_a_letter():
    name = Path(f"/proc/self/task/{threading.get_native_id()}/comm")
    before = name.read_bytes()
    name.write_bytes("matched covid→cap".encode())
    try:
        assert cost.CostMeter("cpu").stop()["peak_mb"] > 10
    finally:
        name.write_bytes(before)


@pytest.mark.parametrize(
    ("contents", "reason"),
    [
        ([], "the file: input should be a dictionary"),
        ({"notes": "resumed"}, "notes: input should be a valid list"),
        ({"notes": [5]}, "notes.0: input should be a valid string"),
        ({"wall_s": "long"}, "wall_s: input should be a valid number"),
    ],
)
def test_a_wrong_cost_is_refused_in_one_line(tmp_path, contents, reason):
    path = tmp_path / "cost.json"
    assert cost.read(path) == {}
    path.write_text(json.dumps(CELL))
    assert cost.read(path) == CELL
    path.write_text(json.dumps(contents))
    with pytest.raises(
        StoreError, match=rf"^{path}: not the cost of a cell \({reason}.*run again$"
    ):
        cost.read(path)
