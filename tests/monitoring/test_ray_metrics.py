"""The metrics that a Prometheus server scrapes from a real node."""

import time
import urllib.request

import pytest
import ray

from lus_ray.monitoring.ray_metrics import CellGauges
from lus_ray.orchestration.cluster import connection
from lus_ray.runs.cell import Cell
from lus_ray.runs.layout import RunFolder

pytestmark = [pytest.mark.ray, pytest.mark.slow]
TIMEOUT_S = 40
CELLS = (Cell("arm a", 0), Cell("arm a", 1), Cell("a→b, Łuk", 0))


@pytest.fixture(scope="module")
def metrics_url():
    """The metrics port of the only node of a cluster that reports every second."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (connection.QUIET | {"RAY_metrics_report_interval_ms": "1000"}).items():
            patch.setenv(name, value)
        ray.init(
            address="local", num_cpus=2, include_dashboard=False, log_to_driver=False,
            logging_level="ERROR",
        )  # fmt: skip
        yield f"http://127.0.0.1:{ray.nodes()[0]['MetricsExportPort']}/metrics"
        ray.shutdown()


def scrape(url: str) -> list[str]:
    """Our lines, once all of them are there."""
    lines: list[str] = []
    end = time.monotonic() + TIMEOUT_S
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                lines = response.read().decode().splitlines()
        except OSError:
            lines = []
        ours = [line for line in lines if line.startswith("ray_lus_")]
        if sum("cell_score{" in line for line in ours) > 1 and any(
            'state="failed"' in line and line.endswith(" 1.0") for line in ours
        ):
            return ours
        time.sleep(0.5)
    raise AssertionError(f"not there after {TIMEOUT_S} s: {lines}")


def test_the_metrics_port_of_a_node_has_the_metrics_of_the_cells(metrics_url, tmp_path):
    gauges = CellGauges("study", RunFolder(tmp_path), CELLS)
    gauges.on_start(CELLS[0])
    gauges.on_report(CELLS[0], {"epoch": 2, "val_score": 0.625})
    gauges.on_report(CELLS[2], {"epoch": 0, "val_score": 0.5})
    gauges.on_start(CELLS[1])
    gauges.on_end(CELLS[1], error="no")
    lines = scrape(metrics_url)

    def value(name: str, *tags: str) -> float:
        (line,) = [line for line in lines if line.startswith(name) and all(t in line for t in tags)]
        return float(line.rpartition(" ")[2])

    assert value("ray_lus_cell_score", 'arm="arm a"', 'fold="0"', 'experiment="study"') == 0.625
    assert value("ray_lus_cell_epoch", 'arm="arm a"', 'fold="0"') == 3
    assert value("ray_lus_cell_score", r'arm="a->b, \\u0141uk"', 'fold="0"') == 0.5
    for state in ("running", "failed", "waiting"):
        assert value("ray_lus_cells{", f'state="{state}"') == 1
