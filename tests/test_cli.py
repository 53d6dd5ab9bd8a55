"""The command: help at once, one line and exit code 2 for what cannot be, JSON where it answers."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def lus(*words, timeout=120):
    return subprocess.run(
        [sys.executable, "-m", "lus_ray.cli", *map(str, words)],
        capture_output=True, text=True, timeout=timeout, cwd=ROOT, check=False,
    )  # fmt: skip


def test_help_names_every_command_without_loading_torch_or_ray():
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
    ("words", "said"),
    [
        (["run", "cats"], "no experiment 'cats'; there are biomarkers"),
        (["run", "biomarkers", "--size", "laptop", "--data", "nowhere"], "lus ingest SOURCE ROOT"),
        (["run", "biomarkers"], "needs clips; give --data STORE"),
        (["run", "biomarkers", "--smoke", "--arms", "e2e cats"], "no arm 'e2e cats'"),
        (["run", "biomarkers", "--smoke", "--folds", "a"], "--folds a: write numbers"),
        (["run", "biomarkers", "--smoke", "--set", "epochs=3"], "write arm.recipe.epochs=3"),
        (["run", "biomarkers", "--smoke", "--set", "arm.recipe.eppochs=3"], "a recipe has"),
        (["run", "biomarkers", "--smoke", "--set", "arm.recipe.epochs=x"], "is a whole number"),
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
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(words, said):
    done = lus(*words)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


def test_the_published_weights_are_listed():
    assert "resnet18-imagenet" in json.loads(lus("weights", "--json").stdout)


def test_ingest_check_and_report_answer_in_json(tmp_path):
    made = lus("ingest", "phantom", tmp_path / "s", "--patients", 3, "--clips", 1, "--frames", 4,
               "--size", 64, "--json")  # fmt: skip
    assert json.loads(made.stdout)["num_clips"] == 3, made.stderr
    found = lus("check", tmp_path / "s", "--json")
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)
    assert (tmp_path / "s" / "check.html").exists()


def test_a_damaged_shard_makes_check_fail_by_name(tmp_path):
    lus("ingest", "phantom", tmp_path / "s", "--patients", 2, "--clips", 1, "--frames", 2,
        "--size", 64)  # fmt: skip
    (shard,) = (tmp_path / "s" / "clips").glob("*.parquet")
    cut = shard.with_name("phantom-00001.parquet")
    cut.write_bytes(shard.read_bytes()[:-20])
    done = lus("check", tmp_path / "s")
    assert done.returncode == 1
    assert cut.name in done.stdout + done.stderr


@pytest.mark.ray
def test_the_doctor_finds_this_machine_sound():
    done = lus("doctor", "--json")
    assert done.returncode == 0, done.stdout
    names = {finding["what"] for finding in json.loads(done.stdout)["findings"]}
    assert {"Python", "memory", "disk", "Ray cluster", "plan smoke"} <= names
