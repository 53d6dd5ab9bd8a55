import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from lus_ray.cli import main
from lus_ray.errors import InputError
from lus_ray.inference import prediction_file
from lus_ray.inference.clip_inputs import ClipInput
from lus_ray.inference.prediction_file import check_path, count_errors, open_predictions
from lus_ray.inference.served_model import ServedModel

CLIPS = [ClipInput(f"{name}.mp4", f"state {name}") for name in "cab"]
MODEL = ServedModel("run/net", "run", "net", 0, "classifier", "severity", Path(), "f" * 64)
OPTIONS = {"uncertainty": False}


def make_row(item, error=None):
    row = {"clip": item.clip, "store": None, "patient": "007", "state": item.state}
    if error is None:
        row |= {"sha256": "0" * 64, "num_frames": 3, "fps": 12.5, "notes": 'a "note",\nor two'}
        row |= {"summary/severity": "2", "run/net/2": 0.1 + ord(item.clip[0]) / 1e6}
    return row | {"error": error}


def write(out, clips, *, errors=(), models=(MODEL,), options=OPTIONS):
    """Predict what is missing; the clips that were, and the whole table."""
    with open_predictions(out, models, options) as file:
        missing = file.select_missing(clips)
        for item in missing:
            file.add(make_row(item, "damaged" if item.clip in errors else None))
        return [item.clip for item in missing], file.finish(clips)


@pytest.mark.parametrize("suffix", prediction_file.SUFFIXES)
def test_rows_are_in_the_order_of_the_inputs_with_errors_listed(tmp_path, suffix):
    out = tmp_path / f"p{suffix}"
    _, table = write(out, CLIPS, errors=["a.mp4"])
    assert table["clip"].to_pylist() == ["c.mp4", "a.mp4", "b.mp4"]
    assert table["error"].to_pylist() == [None, "damaged", None]
    assert table["run/net/2"].to_pylist()[1] is None
    assert count_errors(table, CLIPS) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [out.name, f"{out.name}.json"]


def test_csv_and_parquet_hold_the_same_table(tmp_path):
    for suffix in prediction_file.SUFFIXES:
        write(tmp_path / f"p{suffix}", CLIPS, errors=["a.mp4"])
    tables = [prediction_file._read_table(tmp_path / f"p{s}") for s in prediction_file.SUFFIXES]
    assert tables[0].equals(tables[1])
    assert tables[0]["patient"].to_pylist() == ["007"] * 3


def test_a_csv_keeps_names_that_look_like_missing_values(tmp_path):
    clips = [ClipInput(name, "NaN") for name in ("NA", "null", "nan")]
    write(tmp_path / "p.csv", clips)
    table = prediction_file._read_table(tmp_path / "p.csv")
    assert table["clip"].to_pylist() == ["NA", "null", "nan"]
    assert write(tmp_path / "p.csv", clips)[0] == []


@pytest.mark.parametrize("suffix", prediction_file.SUFFIXES)
def test_the_same_command_again_predicts_only_what_is_missing(tmp_path, suffix):
    out = tmp_path / f"p{suffix}"
    write(out, CLIPS[:2], errors=["a.mp4"])
    changed = [replace(CLIPS[0], state="other bytes"), *CLIPS[1:]]
    assert write(out, CLIPS)[0] == ["a.mp4", "b.mp4"]
    assert write(out, CLIPS)[0] == []
    missing, table = write(out, changed)
    assert missing == ["c.mp4"]
    assert table["state"].to_pylist() == [item.state for item in changed]


def test_rows_of_an_interrupted_command_stay(tmp_path):
    out = tmp_path / "p.csv"
    with suppress(KeyboardInterrupt), open_predictions(out, [MODEL], OPTIONS) as file:
        file.add(make_row(CLIPS[0]))
        raise KeyboardInterrupt
    assert write(out, CLIPS)[0] == ["a.mp4", "b.mp4"]


def test_parts_that_a_killed_cleanup_left_do_not_replace_later_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(prediction_file, "CHUNK_ROWS", 1)
    out = tmp_path / "p.csv"
    with suppress(KeyboardInterrupt), open_predictions(out, [MODEL], OPTIONS) as file:
        for item in CLIPS:
            file.add(make_row(item))
        file.finish(CLIPS)
        raise KeyboardInterrupt
    for number in (0, 1):
        (tmp_path / "p.csv.parts" / f"part-{number:06d}.parquet").unlink()
    changed = [*CLIPS[:2], replace(CLIPS[2], state="other bytes")]
    missing, table = write(out, changed)
    assert missing == ["b.mp4"]
    assert table["state"].to_pylist() == [item.state for item in changed]


WRITER = """
import sys, time
from pathlib import Path
from lus_ray.inference import prediction_file
from tests.inference.test_prediction_file import MODEL, OPTIONS, make_row, many
prediction_file.CHUNK_ROWS = 10
with prediction_file.open_predictions(Path(sys.argv[1]), [MODEL], OPTIONS) as file:
    for item in many():
        file.add(make_row(item))
        time.sleep(0.005)
    file.finish(many())
"""


def many():
    return [ClipInput(f"{number:04d}.mp4", "as it was") for number in range(2000)]


@pytest.mark.slow
def test_a_killed_command_loses_at_most_a_part_and_ends_with_the_same_table(tmp_path):
    out, whole = tmp_path / "p.csv", tmp_path / "whole.csv"
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(out)])
    parts = tmp_path / "p.csv.parts"
    deadline = time.monotonic() + 60
    while len(list(parts.glob("part-*"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not out.exists()
    missing, _ = write(out, many())
    assert 0 < len(missing) <= 2000 - 30
    assert write(whole, many())[0] == [item.clip for item in many()]
    assert out.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"models": [replace(MODEL, fingerprint="e" * 64)]}, "models"),
        ({"models": []}, "models"),
        ({"options": {"uncertainty": True}}, "options"),
    ],
)
def test_rows_of_other_models_or_options_are_never_joined(tmp_path, change, what):
    out = tmp_path / "p.csv"
    write(out, CLIPS)
    with pytest.raises(InputError, match=f"other {what}; name another file"):
        write(out, CLIPS, **change)


@pytest.mark.parametrize("name", ["p.xlsx", "none/p.csv", "folder.csv", "foreign.csv"])
def test_a_table_that_cannot_be_written_is_refused_before_any_work(tmp_path, name):
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "foreign.csv").write_text("my,own\n")
    with pytest.raises(InputError, match="--out"):
        check_path(tmp_path / name)


def test_two_commands_cannot_write_one_table(tmp_path):
    out = tmp_path / "p.csv"
    with (
        open_predictions(out, [MODEL], OPTIONS),
        pytest.raises(InputError, match="is running here"),
        open_predictions(out, [MODEL], OPTIONS),
    ):
        pass


def test_the_command_warns_of_trial_models_and_keeps_their_cards(runs, tmp_path):
    run, clip, out = tmp_path / "labels", tmp_path / "scan.png", tmp_path / "p.csv"
    shutil.copytree(runs / "labels", run)
    record = json.loads((run / "experiment.json").read_text())
    (run / "experiment.json").write_text(json.dumps(record | {"size": "demo"}))
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)).save(clip)
    words = ["predict", str(clip), "--run", str(run), "--out", str(out)]
    done = CliRunner().invoke(main, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    about = json.loads(out.with_name("p.csv.json").read_text())
    assert f"WARNING: {about['banner']}" in done.stderr
    assert about["cards"].keys() == about["models"].keys()
