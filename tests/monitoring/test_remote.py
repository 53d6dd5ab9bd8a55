"""A run on object storage is watched through a copy of its light files."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from lus_ray.cli import main
from lus_ray.runs.layout import RunFolder
from tests.monitoring.unfinished_runs import arm, write_cell, write_run
from tests.object_storage import Bucket


@pytest.fixture
def watched(tmp_path, monkeypatch):
    """`watched(uri)` is what `lus watch --json` prints of it."""
    monkeypatch.setenv("LUS_CACHE", str(tmp_path / "cache"))

    def command(uri: str):
        return CliRunner().invoke(main, ["watch", uri, "--json"])

    return command


def test_a_run_at_a_uri_is_watched_without_its_weights(tmp_path: Path, bucket: Bucket, watched):
    out = write_run(tmp_path / "run", arm("a"))
    folder = write_cell(out, "a", 0, scores=[0.5, 0.75], finished=True)
    (folder / "checkpoint").mkdir()
    (folder / "checkpoint" / "weights.safetensors").write_bytes(bytes(1000))
    uri = bucket.copied(out)
    grid = json.loads(watched(uri).output)
    assert [cell["state"] for cell in grid["arms"][0]["cells"]] == ["finished", "waiting"]
    assert grid["arms"][0]["cells"][0]["curve"] == [[1, 0.5], [2, 0.75]]
    assert grid["out"] == uri
    copy = RunFolder(uri, reading=True).path
    assert (copy / "cells" / "a" / "fold0" / "metrics.jsonl").exists()
    assert not (copy / "cells" / "a" / "fold0" / "checkpoint").exists()


def test_a_uri_without_a_run_is_refused_in_one_line(bucket: Bucket, watched):
    refused = watched(bucket.uri("nothing"))
    assert refused.exit_code == 2
    assert len(refused.stderr.splitlines()) == 1
    assert "/nothing: no experiment.json here" in refused.stderr
