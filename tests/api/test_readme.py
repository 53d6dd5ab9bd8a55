"""The ten lines of Python in the README, run as a stranger runs them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[2] / "README.md"


@pytest.mark.ray
def test_the_script_of_the_readme_goes_from_clips_to_a_prediction(tmp_path):
    (script,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len([line for line in script.splitlines() if line.strip()]) <= 10
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Store('clips/phantom': 24 clips of 12 patients" in done.stdout
    assert re.search(r"network +auc", done.stdout)
    assert "severity/network/0" in done.stdout
    assert (tmp_path / "runs" / "severity" / "report.html").is_file()
