"""The two clusters of cluster.yaml: as it stands, and as its comments change it for own hosts."""

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]
CLOUD_ONLY = ("head_node_type", "available_node_types")


def cloud() -> dict[str, Any]:
    """cluster.yaml as a user hands it to `ray up`."""
    return yaml.safe_load((ROOT / "cluster.yaml").read_text())


def on_premises() -> dict[str, Any]:
    """cluster.yaml after the edits that its last comment asks of a user with own hosts."""
    lines = (ROOT / "cluster.yaml").read_text().splitlines()
    marked = [line.removeprefix("#| ") for line in lines if line.startswith("#| ")]
    kept = {key: value for key, value in cloud().items() if key not in CLOUD_ONLY}
    return {**kept, **yaml.safe_load("\n".join(marked))}
