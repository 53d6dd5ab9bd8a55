"""What a cell costs, with what its workers spent in processes and on machines of their own."""

import json

from lus_ray.runs.cell import Cell
from lus_ray.runs.cost import CostMeter, add_workers
from lus_ray.runs.layout import RunFolder

CELL = {"wall_s": 9.0, "cpu_s": 1.5, "gpu_s": 0.0, "peak_mb": 300.0, "node": "head"}


def test_seconds_of_workers_are_added_and_the_highest_peaks_count(tmp_path):
    folder = RunFolder(tmp_path).cell(Cell("unet", 0))
    folder.path.mkdir(parents=True)
    for rank, gpu in enumerate((True, False)):
        spent = {"wall_s": 7.0, "cpu_s": 6.0, "gpu_s": 7.0 * gpu, "peak_mb": 500.0 + rank}
        spent |= {"peak_gpu_mb": 900.0} if gpu else {}
        (folder.path / folder.worker_cost(rank)).write_text(json.dumps(spent))
    assert add_workers(CELL, folder, 2) == {
        "wall_s": 9.0, "cpu_s": 13.5, "gpu_s": 7.0, "peak_mb": 501.0, "peak_gpu_mb": 900.0,
        "node": "head",
    }  # fmt: skip


def test_a_meter_counts_the_cpu_of_this_process():
    meter = CostMeter("cpu")
    sum(number * number for number in range(300_000))
    cost = meter.stop()
    assert 0 < cost["cpu_s"] <= cost["wall_s"] + 0.1
    assert cost["gpu_s"] == 0
    assert "peak_gpu_mb" not in cost
