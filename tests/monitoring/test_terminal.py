"""The grid as text, on a terminal and elsewhere; and its figures for Prometheus."""

import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from lus_ray.monitoring import prometheus, terminal
from lus_ray.monitoring.run_state import RunReader
from tests.monitoring.made import NOW, arm, cell, run, running, signs

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def busy(tmp_path):
    """A finished, a running, a failed and a blocked cell."""
    out = run(tmp_path / "run", arm("first"), arm("second", reads="first"))
    cell(out, "first", 0, scores=[0.5, 0.75], finished=True, seconds=200)
    cell(out, "first", 1, error="the loss is nan")
    cell(out, "second", 0, scores=[0.5] * 3)
    signs(out, running=running("second/fold0"), said=[[NOW, "a line"]])
    return out


def read(out):
    return RunReader(out, clock=lambda: NOW).read()


def test_the_table_has_an_arm_a_line_and_says_what_failed(busy):
    assert terminal.text(read(busy)).splitlines() == [
        "A study (smoke)",
        "1 of 4 cells:  ▶ 1 running   ✗ 1 failed   ⊘ 1 blocked   ✓ 1 finished",
        "running on head   1:40 so far   about 1:57 left",
        "",
        "        fold 0             fold 1",
        "first   ✓ 0.750 3:20       ✗ failed",
        "second  ▶ 3/10 0.500 50 s  ⊘",
        "",
        "✗ first/fold1: the loss is nan",
    ]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59.4, "59 s"), (60, "1:00"), (3599, "59:59"), (3723, "1:02:03")],
)
def test_durations_are_read_at_a_glance(seconds, words):
    assert terminal.duration(seconds) == words


def test_a_small_terminal_shows_the_arms_that_matter(tmp_path):
    out = run(tmp_path, *(arm(f"arm {n}") for n in range(50)), num_folds=1)
    cell(out, "arm 40", 0, error="no")
    signs(out, running=running("arm 30/fold0"))
    grid = read(out)
    assert [row.name for row in terminal.select_rows(grid.arms, 3)] == ["arm 0", "arm 30", "arm 40"]
    console = Console(file=io.StringIO(), width=60, height=20)
    console.print(terminal._screen(grid, 20))
    shown = console.file.getvalue()
    assert len(shown.splitlines()) <= 20
    assert "arm 30" in shown
    assert "arms more; the page shows all" in shown


def test_prometheus_reads_the_figures(busy):
    text = prometheus.text(read(busy))
    samples = {
        (s.name, *(s.labels[k] for k in ("state", "arm", "fold") if k in s.labels)): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }
    assert samples["lus_cells", "finished"] == 1
    assert samples["lus_cells", "blocked"] == 1
    assert samples["lus_cell_epoch", "second", "0"] == 3
    assert samples["lus_cell_score", "first", "0"] == 0.75
    assert samples["lus_cell_seconds", "first", "0"] == 200
    assert samples["lus_campaign_running",] == 1


def test_names_with_quotes_are_escaped_for_prometheus(tmp_path):
    name = 'a "b" \\ c'
    out = run(tmp_path, arm(name), num_folds=1)
    cell(out, name, 0, scores=[0.5])
    families = list(text_string_to_metric_families(prometheus.text(read(out))))
    (epochs,) = [f for f in families if f.name == "lus_cell_epoch"]
    assert epochs.samples[0].labels["arm"] == name


def test_on_a_terminal_the_grid_is_live_beside_the_page(busy):
    head, tail = pty.openpty()
    command = subprocess.Popen(
        [sys.executable, "-m", "lus_ray.cli", "watch", str(busy), "--port", "0"],
        stdin=tail, stdout=tail, stderr=tail, cwd=ROOT, env={**os.environ, "COLUMNS": "100"},
    )  # fmt: skip
    os.close(tail)
    shown = b""
    while b"second" not in shown:
        shown += os.read(head, 10_000)
    assert shown.startswith(b"page: http://127.0.0.1:")
    command.send_signal(signal.SIGINT)
    assert command.wait(timeout=10) == 0
    os.close(head)


def lus(*words: object, **more: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "lus_ray.cli", "watch", *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, **more,
    )  # fmt: skip


def test_the_command_prints_the_grid_once_as_text_or_json(busy):
    for words in (("--once",), ("--terminal",)):
        command = lus(busy, *words)
        assert "first" in command.communicate(timeout=30)[0]
        assert command.returncode == 0
    printed = json.loads(lus(busy, "--json").communicate(timeout=30)[0])
    assert printed["num_cells"] == 4
    assert printed["arms"][1]["cells"][0]["curve"] == [[1, 0.5], [2, 0.5], [3, 0.5]]


def test_a_folder_that_is_no_run_ends_with_one_line_and_exit_code_2(tmp_path):
    command = lus(tmp_path)
    said, complaint = command.communicate(timeout=30)
    assert (command.returncode, said, len(complaint.splitlines())) == (2, "", 1)
    assert "no experiment.json here" in complaint


def test_ctrl_c_ends_the_page_with_exit_code_0(busy):
    command = lus(busy, "--port", 0)
    url = command.stdout.readline().removeprefix("page: ").strip()
    with urllib.request.urlopen(f"{url}grid.json", timeout=10) as answer:
        assert json.load(answer)["num_cells"] == 4
    time.sleep(0.2)
    os.kill(command.pid, signal.SIGINT)
    assert command.wait(timeout=10) == 0
    assert command.stderr.read() == ""


def test_a_port_in_use_is_refused_in_one_line(busy):
    first = lus(busy, "--port", 0)
    port = first.stdout.readline().strip().rstrip("/").rpartition(":")[2]
    second = lus(busy, "--port", port)
    complaint = second.communicate(timeout=30)[1]
    assert (second.returncode, len(complaint.splitlines())) == (2, 1)
    assert "try --port 0" in complaint
    first.send_signal(signal.SIGINT)
    assert first.wait(timeout=10) == 0
