"""`lus watch` on a terminal and elsewhere, and its metrics for Prometheus."""

import io
import json
import os
import pty
import signal
import subprocess
import sys
import urllib.request

import pytest
from click.testing import CliRunner
from rich.console import Console

from lus_ray.cli import main
from lus_ray.monitoring import prometheus, terminal
from lus_ray.monitoring.run_state import RunReader
from tests.monitoring.unfinished_runs import (
    NOW,
    arm,
    parse_metrics,
    running_cells,
    write_cell,
    write_mixed_run,
    write_run,
    write_status,
)

WATCH = (sys.executable, "-m", "lus_ray.cli", "watch")


@pytest.fixture
def out(tmp_path):
    return write_mixed_run(tmp_path / "run")


def read(out):
    return RunReader(out, clock=lambda: NOW).read()


def metrics(out):
    return parse_metrics(prometheus.format_metrics(read(out)).decode())


def test_the_table_has_one_line_per_arm_and_the_errors(out):
    assert terminal.format_grid(read(out)).splitlines() == [
        "A study (smoke)",
        "1 of 6 cells:  ▶ 1 running   ✗ 1 failed   ⊘ 1 blocked   · 2 waiting   ✓ 1 finished",
        "running on head   1:40 so far   about 8:37 left   Ray dashboard: http://127.0.0.1:8265",
        "",
        "              fold 0             fold 1",
        "first         ✓ 0.750 3:20       ✗ failed",
        "second        ▶ 3/10 0.375 50 s  ⊘",
        "<b>third</b>  ·                  ·",
        "",
        "✗ first/fold1: the loss is nan",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (60, "1:00"), (3599, "59:59"), (3723, "1:02:03")],
)
def test_durations_are_short(seconds, text):
    assert terminal.format_duration(seconds) == text


def test_a_small_terminal_shows_the_arms_that_matter(tmp_path):
    out = write_run(tmp_path, *(arm(f"arm {n}") for n in range(50)), num_folds=1)
    write_cell(out, "arm 40", 0, error="no")
    write_status(out, running=running_cells("arm 30/fold0"))
    grid = read(out)
    assert [row.name for row in terminal.select_rows(grid.arms, 3)] == ["arm 0", "arm 30", "arm 40"]
    console = Console(file=io.StringIO(), width=60, height=20)
    console.print(terminal._screen(grid, 20))
    text = console.file.getvalue()
    assert len(text.splitlines()) <= 20
    assert "arm 30" in text
    assert "more arms; the page shows all" in text


def test_prometheus_reads_the_metrics(out):
    expected = {
        ("lus_cells", "finished"): 1, ("lus_cells", "blocked"): 1, ("lus_campaign_running",): 1,
        ("lus_campaign_seconds",): 100, ("lus_cell_epoch", "second", "0"): 3,
        ("lus_cell_score", "first", "0"): 0.75, ("lus_cell_seconds", "first", "0"): 200,
        ("lus_cell_starts", "second", "0"): 2,
    }  # fmt: skip
    assert expected.items() <= metrics(out).items()


def test_arm_names_are_escaped_for_prometheus(tmp_path):
    name = 'a "b" \\ c'
    out = write_run(tmp_path, arm(name), num_folds=1)
    write_cell(out, name, 0, scores=[0.5])
    assert metrics(out)["lus_cell_epoch", name, "0"] == 1


def test_the_command_prints_the_grid_once_as_text_or_json(out):
    for option in ("--once", "--terminal"):
        assert "first" in CliRunner().invoke(main, ["watch", str(out), option]).output
    grid = json.loads(CliRunner().invoke(main, ["watch", str(out), "--json"]).output)
    assert grid["num_cells"] == 6
    assert grid["campaign"]["said"] == [[NOW, "a line"]]
    assert grid["arms"][1]["cells"][0]["curve"] == [[1, 0.25], [2, 0.5], [3, 0.375]]


def test_a_folder_without_a_run_ends_with_one_line(tmp_path):
    done = CliRunner().invoke(main, ["watch", str(tmp_path)])
    assert (done.exit_code, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert "experiment.json: no such file; name a folder that" in done.stderr


@pytest.mark.slow
def test_a_terminal_shows_the_live_grid_beside_the_page(out):
    head, tail = pty.openpty()
    command = subprocess.Popen(
        [*WATCH, str(out), "--port", "0"],
        stdin=tail, stdout=tail, stderr=tail, env={**os.environ, "COLUMNS": "100"},
    )  # fmt: skip
    os.close(tail)
    text = b""
    while b"second" not in text:
        text += os.read(head, 10_000)
    assert text.startswith(b"page: http://127.0.0.1:")
    command.send_signal(signal.SIGINT)
    assert command.wait(timeout=10) == 0
    os.close(head)


@pytest.mark.slow
def test_ctrl_c_ends_the_page(out):
    command = subprocess.Popen(
        [*WATCH, str(out), "--port", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    url = command.stdout.readline().removeprefix("page: ").strip()
    with urllib.request.urlopen(f"{url}grid.json", timeout=10) as response:
        assert json.load(response)["num_cells"] == 6
    command.send_signal(signal.SIGINT)
    assert command.wait(timeout=10) == 0
    assert command.stderr.read() == ""
