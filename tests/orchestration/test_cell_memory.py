"""What a process of cells does with freed memory."""

import subprocess
import sys

import pytest

REPEATS, BYTES = 20, 50 << 20
HUGE_PAGE = 2 << 20
PROGRAM = f"""
import resource, sys
import numpy as np
from lus_ray.orchestration.cells import process

if sys.argv[1] == "kept":
    process.keep_freed_memory()
for number in range({REPEATS} + 1):
    if number == 1:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones({BYTES}, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc is told")
def test_a_step_gets_the_memory_that_the_last_one_freed():
    faults = {}
    for name in ("returned", "kept"):
        command = [sys.executable, "-c", PROGRAM, name]
        faults[name] = int(subprocess.run(command, check=True, capture_output=True).stdout)
    assert faults["returned"] > REPEATS * BYTES / HUGE_PAGE
    assert faults["kept"] < faults["returned"] / 5
