"""The project as its users have it: a clone, and cluster.yaml for the cloud and for own hosts."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
CLOUD_ONLY = ("head_node_type", "available_node_types")


def clone(folder: Path) -> Path:
    """Unpack the last commit into `folder`; skips the test outside of a repository."""
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, capture_output=True)
    if archive.returncode:
        pytest.skip("not a git checkout: it cannot be cloned")
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    return folder


def cloud() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "cluster.yaml").read_text())


def on_premises() -> dict[str, Any]:
    """cluster.yaml with the edits of its last comment, for own hosts."""
    lines = (ROOT / "cluster.yaml").read_text().splitlines()
    marked = [line.removeprefix("#| ") for line in lines if line.startswith("#| ")]
    kept = {key: value for key, value in cloud().items() if key not in CLOUD_ONLY}
    return {**kept, **yaml.safe_load("\n".join(marked))}
