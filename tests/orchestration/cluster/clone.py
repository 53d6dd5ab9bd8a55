"""A clone of the project, as a user submits jobs from one."""

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.orchestration.cluster.onpremises import ROOT


def clone(folder: Path) -> Path:
    """What the last commit holds, in `folder`; the test is skipped outside of a repository."""
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, capture_output=True)
    if archive.returncode:
        pytest.skip("not a git checkout: no clone can be made of it")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(folder, filter="data")
    return folder
