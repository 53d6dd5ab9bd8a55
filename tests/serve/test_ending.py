"""However the service is ended, none of its processes stays behind."""

import signal
import time
from pathlib import Path

import psutil
import pytest

from serve.sweeper import LOOK_SECONDS
from tests.serve.service import serving

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.mark.parametrize(
    ("how", "seconds"), [(signal.SIGINT, 30.0), (signal.SIGTERM, 30.0), (signal.SIGKILL, 30.0)]
)
def test_no_process_is_left_after_a_signal(runs: Path, how: signal.Signals, seconds: float, capsys):
    with serving(runs / "signs") as service:
        started = service.processes()
        assert len(started) > 10
        time.sleep(LOOK_SECONDS)  # until the sweeper has seen all of them
        began = time.monotonic()
        service.process.send_signal(how)
        service.process.wait(seconds)
        _, left = psutil.wait_procs(started, timeout=seconds)
        took = time.monotonic() - began
        names = [" ".join(process.cmdline())[:80] for process in left]
        for process in left:
            process.kill()
    with capsys.disabled():
        print(f"\n  {how.name}: {len(started)} processes, gone after {took:.1f} s")
    assert names == []
