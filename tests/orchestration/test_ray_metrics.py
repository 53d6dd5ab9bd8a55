"""What a Prometheus server scrapes from a real node."""

import time
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
import ray

from lus_ray.monitoring.ray_metrics import CellGauges
from lus_ray.orchestration.cluster import connection
from lus_ray.runs.cell import Cell

pytestmark = [pytest.mark.ray, pytest.mark.slow]
PATIENCE_S = 40
CELL_MODULE = (Cell("arm a", 0), Cell("arm a", 1), Cell("a→b, Łuk", 0))


@pytest.fixture(scope="module")
def node():
    """The metrics port of the only node of a cluster."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (connection.QUIET | {"RAY_metrics_report_interval_ms": "1000"}).items():
            patch.setenv(name, value)
        ray.init(
            address="local", num_cpus=2, include_dashboard=False, log_to_driver=False,
            logging_level="ERROR",
        )  # fmt: skip
        yield ray.nodes()[0]["MetricsExportPort"]
        ray.shutdown()


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return str(answer.read().decode())


def eventually(found: Callable[[], Any]) -> Any:
    """What it finds, once it finds something."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        try:
            if answer := found():
                return answer
        except OSError:
            pass
        time.sleep(0.5)
    raise AssertionError(f"not there after {PATIENCE_S} s")


def test_the_metrics_port_of_a_node_has_the_figures_of_the_cells(node, tmp_path):
    gauges = CellGauges("study", tmp_path, CELL_MODULE)
    gauges.on_start(CELL_MODULE[0])
    gauges.on_report(CELL_MODULE[0], {"epoch": 2, "val_score": 0.625})
    gauges.on_report(CELL_MODULE[2], {"epoch": 0, "val_score": 0.5})
    gauges.on_start(CELL_MODULE[1])
    gauges.on_end(CELL_MODULE[1], error="no")

    def scraped() -> list[str]:
        lines = fetch(f"http://127.0.0.1:{node}/metrics").splitlines()
        ours = [line for line in lines if line.startswith("ray_lus_")]
        scores = sum("lus_cell_score{" in line for line in ours)
        failed = any('state="failed"' in line and line.endswith(" 1.0") for line in ours)
        return ours if scores > 1 and failed else []

    lines = eventually(scraped)

    def value(name: str, *tags: str) -> float:
        (line,) = [each for each in lines if each.startswith(name) and all(t in each for t in tags)]
        return float(line.rpartition(" ")[2])

    assert value("ray_lus_cell_score", 'arm="arm a"', 'fold="0"', 'experiment="study"') == 0.625
    assert value("ray_lus_cell_epoch", 'arm="arm a"', 'fold="0"') == 3
    assert value("ray_lus_cell_score", r'arm="a->b, \\u0141uk"', 'fold="0"') == 0.5
    assert value("ray_lus_cells{", 'state="running"') == 1
    assert value("ray_lus_cells{", 'state="failed"') == 1
    assert value("ray_lus_cells{", 'state="waiting"') == 1
