"""A run on object storage is watched through a copy of its light files."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from lus_ray.cli import main
from lus_ray.runs.layout import RunFolder
from tests.monitoring.unfinished_runs import arm, write_cell, write_run
from tests.object_storage import Bucket


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LUS_CACHE", str(tmp_path / "cache"))


def watch(uri: str):
    return CliRunner().invoke(main, ["watch", uri, "--json"])


def test_a_run_at_a_uri_is_watched_without_its_weights(tmp_path: Path, bucket: Bucket):
    out = write_run(tmp_path / "run", arm("a"))
    folder = write_cell(out, "a", 0, scores=[0.5, 0.75], finished=True)
    (folder / "checkpoint").mkdir()
    (folder / "checkpoint" / "weights.safetensors").write_bytes(bytes(1000))
    uri = bucket.copied(out)
    grid = json.loads(watch(uri).output)
    assert grid["out"] == uri
    finished, waiting = grid["arms"][0]["cells"]
    assert (finished["state"], waiting["state"]) == ("finished", "waiting")
    assert finished["curve"] == [[1, 0.5], [2, 0.75]]
    copy = RunFolder(uri, reading=True).path / "cells" / "a" / "fold0"
    assert (copy / "metrics.jsonl").exists()
    assert not (copy / "checkpoint").exists()


def test_a_uri_without_a_run_is_refused_in_one_line(bucket: Bucket):
    refused = watch(bucket.uri("nothing"))
    assert refused.exit_code == 2
    assert len(refused.stderr.splitlines()) == 1
    assert "/nothing: no experiment.json here" in refused.stderr
