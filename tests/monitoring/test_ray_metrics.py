"""The metrics that a Prometheus server scrapes from a real node."""

import contextlib
import time
import urllib.request

import pytest
import ray

from lus_ray.monitoring import ray_metrics
from lus_ray.monitoring.ray_metrics import STATES, CellGauges
from lus_ray.orchestration.cluster import connection
from lus_ray.runs.cell import Cell
from lus_ray.runs.layout import RunFolder
from tests.monitoring.unfinished_runs import parse_metrics

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


def test_the_metrics_port_of_a_node_has_the_metrics_of_the_cells(
    metrics_url, tmp_path, monkeypatch
):
    monkeypatch.setattr(ray_metrics, "REFRESH_S", 0.5)
    with CellGauges("study", RunFolder(tmp_path), CELLS) as gauges:
        check_metrics(gauges, metrics_url)


def check_metrics(gauges, metrics_url):
    gauges.on_start(CELLS[0])
    gauges.on_report(CELLS[0], {"epoch": 2, "val_score": 0.625})
    gauges.on_report(CELLS[2], {"epoch": 0, "val_score": 0.5})
    gauges.on_start(CELLS[1])
    gauges.on_end(CELLS[1], error="no")
    expected = {
        ("ray_lus_cell_score", "arm a", "0"): 0.625,
        ("ray_lus_cell_epoch", "arm a", "0"): 3,
        ("ray_lus_cell_score", r"a->b, \u0141uk", "0"): 0.5,
        ("ray_lus_cell_state", "arm a", "0"): STATES.index("running"),
        ("ray_lus_cell_state", "arm a", "1"): STATES.index("failed"),
        ("ray_lus_cell_state", r"a->b, \u0141uk", "0"): STATES.index("waiting"),
        ("ray_lus_cells", "running"): 1,
        ("ray_lus_cells", "failed"): 1,
        ("ray_lus_cells", "waiting"): 1,
    }
    end, metrics = time.monotonic() + TIMEOUT_S, {}
    while not expected.items() <= metrics.items() and time.monotonic() < end:
        time.sleep(0.5)
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(metrics_url, timeout=5) as scraped,
        ):
            metrics = parse_metrics(scraped.read().decode(), "ray_lus_")
    assert expected.items() <= metrics.items()
    time.sleep(4)  # Ray keeps a value for two reports of a second
    with urllib.request.urlopen(metrics_url, timeout=5) as scraped:
        assert expected.items() <= parse_metrics(scraped.read().decode(), "ray_lus_").items()
