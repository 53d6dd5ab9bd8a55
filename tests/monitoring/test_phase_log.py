"""Messages of slow phases, and the port of a service."""

import socket
import time

import pytest
from click.testing import CliRunner

from lus_ray.cli import main
from lus_ray.monitoring.phase_log import PhaseLog


def test_the_last_step_is_repeated_until_the_start_is_over_and_a_note_is_not():
    lines: list[str] = []
    with PhaseLog(lines.append, silence_s=0.05) as log:
        log.notify("starting Ray ...")
        log.notify("skipped: runs/old: not readable")
        log.notify("serving backbone")
        time.sleep(0.2)
        log.notify("loading 3 models of demo ...")
        log.stop()
        time.sleep(0.1)
    first, note, served, *repeated, last = lines
    assert (first, note) == ("starting Ray ...", "skipped: runs/old: not readable")
    assert served == "serving backbone"
    assert last == "loading 3 models of demo ..."
    assert repeated
    assert all(line.startswith("still starting Ray ... (") for line in repeated)


def test_blocks_in_a_row_are_not_silent_for_longer_than_one():
    lines: list[str] = []
    for step in ("reading ...", "selecting ...", "resizing ..."):
        with PhaseLog(lines.append, step, silence_s=0.5):
            time.sleep(0.25)
    assert len(lines) == 1
    assert lines[0].startswith(("still selecting", "still resizing"))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_busy_port_is_refused_before_anything_starts(host, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = CliRunner().invoke(main, ["serve", str(tmp_path), "--host", host, "--port", port])
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == (
        f"lus: port {port} of {host} is in use; stop the program there, or choose another --port\n"
    )
