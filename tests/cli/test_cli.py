"""The command: quick help, one line and exit code 2 for bad input, JSON on request."""

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from lus_ray import cli
from tests.evaluation.run_folders import arm, write_cell, write_run

ROOT = Path(__file__).resolve().parents[2]
PHANTOM = ("--patients", 3, "--clips", 1, "--frames", 4, "--size", 64)


def invoke(*words):
    return CliRunner().invoke(cli.main, [str(word) for word in words], prog_name="lus")


def assert_one_line(done, exit_code):
    assert done.exit_code == exit_code, done.output
    assert done.stderr.startswith("lus: ")
    assert done.stderr.count("\n") == 1


def test_help_names_every_command_without_loading_torch_or_ray(lus):
    began = time.process_time()
    text = lus("--help").stdout
    assert time.process_time() - began < 5
    for name in ("demo", "ingest", "check", "run", "report", "weights", "doctor"):
        assert f"\n  {name} " in text
    heavy = {"torch", "ray", "sklearn", "pyarrow"}
    probe = f"import sys, lus_ray.cli; print({heavy} & set(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, cwd=ROOT)
    assert loaded.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "cats"], "no experiment 'cats'; there are biomarkers"),
        (["run", "biomarkers", "--size", "laptop", "--data", "nowhere"], "lus ingest SOURCE ROOT"),
        (["run", "biomarkers"], "needs clips; give --data STORE"),
        (["run", "biomarkers", "--smoke", "--arms", "e2e cats"], "no arm 'e2e cats'"),
        (["run", "biomarkers", "--smoke", "--folds", "a"], "--folds a: write numbers"),
        (["run", "biomarkers", "--smoke", "--set", "epochs=3"], "write arm.recipe.epochs=3"),
        (["run", "biomarkers", "--smoke", "--set", "arm.recipe.eppochs=3"], "a recipe has"),
        (
            ["run", "biomarkers", "--smoke", "--set", "arm.recipe.epochs=x"],
            "epochs is x; it needs a whole number",
        ),
        (["run", "biomarkers", "--smoke", "--set", "arm.task.nothing=1"], "no arm takes it"),
        (["run", "biomarkers", "--smoke", "--weights", "vgg"], "vgg"),
        (["run", "biomarkers", "--smoke", "--domains", "A,B"], "biomarkers compares no domains"),
        (["ingest", "floppy", "a", "b"], "floppy"),
        (["ingest", "folder", "nowhere", "b"], "nowhere"),
        (["ingest", "phantom", "a", "b"], "write 'lus ingest phantom STORE'"),
        (["ingest", "covid_blues", "a", "b", "--patients", "3"], "for phantom clips only"),
        (["ingest", "covid_blues", "a"], "no STORE given"),
        (["check", "nowhere"], "nowhere"),
        (["report", "nowhere"], "nowhere"),
        (["weights", "vgg"], "vgg"),
        (["ingest", "phantom", "s", "--workers", "-1"], "-1 is not in the range x>=1"),
        (["ingest", "folder", "a", "s", "--max-side", "0"], "0 is not in the range x>=1"),
        (["run", "biomarkers", "--samples", "-1"], "-1 is not in the range x>=1"),
        (["serve", "r", "--port", "99999"], "99999 is not in the range 1<=x<=65535"),
        (["watch", "r", "--port", "65536"], "65536 is not in the range 0<=x<=65535"),
        (["run", "biomarkers", "--size", "huge"], "'huge' is not one of 'smoke'"),
        (["run"], "Missing argument 'EXPERIMENT'; see 'lus run --help'"),
        (["ingest", "phantom", "s", "--max-side", "512"], "--max-side is for sources of files"),
        (["ingest", "phantom", "s", "--labels", "l.csv"], "--labels is for sources of files only"),
        (["ingest", "phantom", "s", "--allow-text"], "--allow-text is for sources of files only"),
        (["ingest", "phantom", "s", "--missing-patient", "own"], "--missing-patient is for sourc"),
        (["ingest", "folder", "a", "s", "--video-labels", "1"], "--video-labels is for phantom"),
        (["ingest", "phantom", f"{ROOT}/README.md/s"], "README.md: is a file; give STORE a"),
        (
            ["run", "biomarkers", "--smoke", "--out", f"{ROOT}/README.md"],
            "is a file; give --out a folder",
        ),
        (["bench", "uninorm", "--out", "nowhere/b.json"], "name a file in an existing folder"),
        (["bench", "uninorm", "--out", f"{ROOT}/tests"], "name a file in an existing folder"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2_before_any_work(
    words, message, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    done = invoke(*words)
    assert_one_line(done, 2)
    assert message in done.stderr
    assert done.stdout == ""
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("number", "exit_code", "message"),
    [
        (errno.EACCES, 2, "lus: clips: Permission denied; give a path that exists"),
        (errno.EROFS, 2, "lus: clips: Read-only file system; give a path"),
        (errno.ENOTDIR, 2, "lus: clips: Not a directory; give a path"),
        (errno.ENOSPC, 1, "lus: clips: No space left on device\n"),
        (errno.EIO, 1, "lus: clips: Input/output error\n"),
    ],
)
def test_a_bad_path_is_bad_input_and_a_full_disk_is_not(number, exit_code, message):
    @click.group(cls=cli.Lus)
    def group():
        """A group whose command meets the error."""

    @group.command()
    def write():
        raise OSError(number, os.strerror(number), "clips")

    done = CliRunner().invoke(group, ["write"])
    assert_one_line(done, exit_code)
    assert done.stderr.startswith(message)


def test_a_report_is_printed_also_where_it_cannot_be_written(tmp_path):
    e2e = arm("e2e")
    write_cell(write_run(tmp_path, [e2e]), e2e, 0)
    (tmp_path / "report.json").mkdir()
    done = invoke("report", tmp_path)
    assert_one_line(done, 2)
    assert "e2e" in done.stdout
    assert "report: " not in done.stdout
    (tmp_path / "report.json").rmdir()
    done = invoke("report", tmp_path)
    assert done.stdout.endswith(f"report: {tmp_path / 'report.html'}\n")
    assert done.exit_code == 0


def test_findings_are_printed_also_where_their_page_cannot_be_written(phantom_store, tmp_path):
    shutil.copytree(phantom_store, tmp_path / "s")
    (tmp_path / "s" / "check.html").mkdir()
    done = invoke("check", tmp_path / "s")
    assert_one_line(done, 2)
    assert "24 patients" in done.stdout
    assert "contact sheet" not in done.stdout


def test_external_clips_are_read_before_any_training(phantom_store, tmp_path):
    done = invoke("run", "dense_labels", "--smoke", "--data", phantom_store, "--out",
                  tmp_path / "o", "--over", tmp_path / "nowhere")  # fmt: skip
    assert_one_line(done, 2)
    assert "nowhere: no clips here" in done.stderr
    assert not (tmp_path / "o").exists()


def test_the_published_weights_are_listed():
    assert "resnet18-imagenet" in json.loads(invoke("weights", "--json").stdout)


def test_ingest_and_check_answer_in_json_and_a_damaged_shard_fails_by_name(lus, tmp_path):
    ingested = lus("ingest", "phantom", tmp_path / "s", *PHANTOM, "--json")
    assert json.loads(ingested.stdout)["num_clips"] == 3, ingested.stderr
    checked = lus("check", tmp_path / "s", "--json")
    assert json.loads(checked.stdout)["num_clips"] == 3, checked.stderr
    assert (tmp_path / "s" / "check.html").exists()
    (shard,) = (tmp_path / "s" / "clips").glob("*.parquet")
    cut = shard.with_name("phantom-00001.parquet")
    cut.write_bytes(shard.read_bytes()[:-20])
    manifest = tmp_path / "s" / "store.json"
    named = {**json.loads(manifest.read_text()), "shards": [shard.name, cut.name]}
    manifest.write_text(json.dumps(named))
    done = invoke("check", tmp_path / "s")
    assert done.exit_code == 1
    assert cut.name in done.output


@pytest.mark.ray
def test_the_doctor_reports_no_problem_on_this_machine(lus):
    done = lus("doctor", "--json")
    assert done.returncode == 0, done.stdout
    names = {finding["what"] for finding in json.loads(done.stdout)["findings"]}
    assert {"Python", "memory", "disk", "Ray cluster", "plan smoke"} <= names
