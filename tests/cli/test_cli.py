"""The command: help at once; bad input is one line and exit code 2; JSON on request."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from PIL import Image

from lus_ray import cli
from lus_ray.cli import study_help
from lus_ray.data import store
from lus_ray.storage import paths
from tests.evaluation.run_folders import arm, write_cell, write_run

ROOT = Path(__file__).resolve().parents[2]
PHANTOM = ("--patients", 3, "--clips", 1, "--frames", 2, "--size", 64, "--workers", 1)
SMOKE = ("run", "biomarkers", "--smoke")


def lus(*words):
    return CliRunner().invoke(cli.main, [str(word) for word in words], prog_name="lus")


def assert_one_line(done, message, *, exit_code=2):
    assert done.exit_code == exit_code, done.output
    assert message in done.stderr
    assert done.stderr.startswith("lus: ")
    assert done.stderr.count("\n") == 1


def test_help_names_every_command_without_loading_torch_or_ray():
    probe = (
        "import sys; from lus_ray.cli import main; main(['--help'], standalone_mode=False); "
        "print({'torch', 'ray', 'sklearn', 'pyarrow'} & set(sys.modules))"
    )
    text = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, cwd=ROOT)
    assert text.stdout.endswith("set()\n")
    for name in ("demo", "ingest", "check", "run", "report", "weights", "doctor"):
        assert f"\n  {name} " in text.stdout


def test_help_lists_the_studies_without_loading_torch_or_ray():
    probe = (
        "import sys; from lus_ray.cli import main; main(['run', '--help'], standalone_mode=False); "
        "print({'torch', 'ray', 'sklearn', 'pyarrow'} & set(sys.modules))"
    )
    text = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, cwd=ROOT)
    assert text.stdout.endswith("set()\n")
    assert re.search(r"\n  biomarkers +Biomarkers: a backbone predicts", text.stdout)


@pytest.mark.parametrize("words", [(), ("--size", "demo")])
def test_help_on_a_study_shows_its_arms_sizes_and_settings(words):
    done = lus("run", "biomarkers", *words, "--help")
    assert done.exit_code == 0
    assert "\n  Table     Gare et al. 2022" in done.stdout
    assert "\n  smoke   115 arms, 3 folds, up to 2 epochs, 24 phantom patients\n" in done.stdout
    kinds = "DT | SVM | SVM-pairwise | RF | AB | NN | MLP | MLP-L"
    experts = f"\n  {{{kinds}}} on biomarkers, {{severity | sf_ratio | dis"
    assert (experts in done.stdout) == (not words)
    assert re.search(r"\n  arm\.recipe\.epochs +1(00|2)\n", done.stdout)
    assert re.search(r"\n  task\.backbone\.dropout +0 to 0\.7 \([28] arms\)\n", done.stdout)


def test_help_on_the_study_of_any_label_names_labels():
    done = lus("run", "classify", "--help")
    assert re.search(
        r"Labels \(--label\):\n  severity, .*or a label of the store's own", done.stdout
    )


def test_names_are_grouped_by_their_first_and_last_words():
    lines = list(study_help.group_names(("prior, s", "logistic, s", "e2e s", "prior, t")))
    assert lines[0].startswith("{prior | logistic}, ")
    names = ("a on x, s", "b on x, s", "a on x, t", "b on x, t", "c", "c d", "e")
    lines = list(study_help.group_names(names))
    assert lines == ["{a | b} on x, {s | t}", "c", "c d", "e"]


@pytest.mark.parametrize(
    "words",
    [
        ("run", "cats"), ("run", "biomarkers", "--data", "nowhere"), ("watch", "nowhere"),
        ("run", "biomarkers", "--smoke", "--out", "README.md"), ("report", "nowhere"),
    ],
)  # fmt: skip
def test_what_does_not_exist_is_refused_before_torch_is_imported(words):
    probe = (
        f"import sys; from lus_ray.cli import main; main({list(words)}, standalone_mode=False); "
        "print({'torch', 'ray', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "set()\n"
    assert done.stderr.count("\n") == 1


def test_a_deleted_current_folder_is_named(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert_one_line(lus("weights"), "the current folder is not usable")


def test_a_file_in_place_of_a_run_folder_is_named(tmp_path):
    (tmp_path / "run").touch()
    assert_one_line(lus("report", tmp_path / "run"), "run: is a file; name a folder that 'lus run")


@pytest.fixture
def unread(monkeypatch):
    """Standard output is a pipe whose reader has ended; gives the texts of standard error."""
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", buffering=1) as output:
        monkeypatch.setattr(sys, "stdout", output)
        yield
        monkeypatch.undo()
        os.dup2(os.open(os.devnull, os.O_WRONLY), writer)


def run_unread(*words):
    with pytest.raises(SystemExit) as end:
        cli.main([str(word) for word in words], prog_name="lus")
    return end.value.code


def test_findings_that_nobody_reads_end_quietly_and_are_written(
    phantom_store, tmp_path, unread, capfd
):
    shutil.copytree(phantom_store, tmp_path / "s", ignore=lambda *_: ["check.html"])
    assert run_unread("check", tmp_path / "s") in (0, 128 + signal.SIGPIPE)
    assert (tmp_path / "s" / "check.html").is_file()
    assert capfd.readouterr().err == ""


@pytest.mark.slow
def test_a_report_that_nobody_reads_is_written_quietly(tmp_path, unread, capfd):
    baseline = arm("e2e")
    write_cell(write_run(tmp_path, [baseline]), baseline, 0)
    assert run_unread("report", tmp_path) in (0, 128 + signal.SIGPIPE)
    assert (tmp_path / "report.html").is_file()
    assert capfd.readouterr().err == ""


def test_a_process_whose_output_nobody_reads_ends_quietly():
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "lus_ray.cli", "run", "--help"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, cwd=ROOT, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--foo"], "lus: No such option '--foo'; see 'lus --help'"),
        (["watch", "--grafan", "x"], "Did you mean '--grafana'? See 'lus watch --help'"),
        (["run", "biomarkers", "--seed", "abc"], "'abc' is not a whole number"),
        (["run", "./nosuch.py"], "give your study file, or the name of a built-in study"),
        (["run", "classify", "--control"], "classify has none; choose one of biomarkers, bline"),
        ([*SMOKE, "--splits", "published"], "; only frame_scores and video_scores have it; give"),
        ([*SMOKE, "--splits", f"{ROOT}/README.md"], "README.md: no folds here (Expecting value"),
        ([*SMOKE, "--weights", f"{ROOT}/README.md"], "README.md: not a weights file; give .safet"),
        (["serve", "nowhere"], "nowhere/experiment.json: no such file; name a folder"),
        (["run"], "Missing argument 'STUDY'; see 'lus run --help'"),
        (["run", "cats"], "no study 'cats'; the nearest of"),
        (["run", "frame_score"], "; did you mean 'frame_scores'?"),
        (["run", "biomarkers", "--size", "laptop", "--data", "nowhere"], "lus ingest SOURCE ROOT"),
        (["run", "biomarkers"], "needs clips; give --data STORE"),
        (["run", "biomarkers", "--samples", "-1"], "-1 is not in the range x>=1"),
        (["run", "biomarkers", "--size", "huge"], "'huge' is not one of 'smoke'"),
        ([*SMOKE, "--arms", "e2e cats"], "no arm 'e2e cats'"),
        ([*SMOKE, "--folds", "a"], "--folds a: write numbers"),
        ([*SMOKE, "--folds", "0,9"], "--folds 0,9: no fold 9; biomarkers has 0, 1, 2"),
        ([*SMOKE, "--splits", "nowhere.json"], "--splits nowhere.json: no such file"),
        ([*SMOKE, "--splits", f"{ROOT}/pyproject.toml"], "pyproject.toml: no folds here"),
        ([*SMOKE, "--data", f"{ROOT}/tests"], "tests: no clips here; make a store with"),
        ([*SMOKE, "--set", "epochs=3"], "write arm.recipe.epochs=3"),
        ([*SMOKE, "--set", "arm.recipe.epochs"], "write arm.recipe.epochs=3"),
        ([*SMOKE, "--set", "arm.recipe.eppochs=3"], "no 'eppochs'; did you mean 'epochs'?"),
        ([*SMOKE, "--set", "arm.recipe.epochs=x"], "lus: --set arm.recipe.epochs=x: Recipe: epo"),
        ([*SMOKE, "--set", "arm.task.kind=foo"], "--set arm.task.kind=foo: arm 'prior, "),
        (
            [*SMOKE, "--arms", "SVM on biomarkers, severity", "--set", "arm.task.kind=foo"],
            "severity': no expert 'foo'; use one of DT, SVM",
        ),
        ([*SMOKE, "--set", "arm.task.nothing=1"], "no arm takes it; see 'lus run biomar"),
        ([*SMOKE, "--weights", "vgg"], "vgg: neither a file nor published weights; known: 'r"),
        ([*SMOKE, "--weights", "i3d-r50-kinetics"], "give --weights i3d-r50-kinetics=FILE"),
        ([*SMOKE, "--weights", "i3d-r50-kinetics=no"], "no: no such file; give i3d-r50-kin"),
        ([*SMOKE, "--domains", "A,B"], "biomarkers compares no domains"),
        ([*SMOKE, "--out", f"{ROOT}/README.md"], "is a file; give --out a folder"),
        ([*SMOKE, "--arms", "e2e severty"], "; did you mean 'e2e severity'"),
        ([*SMOKE, "--size", "laptop"], "--smoke means --size smoke; remove it, or --size laptop"),
        ([*SMOKE, "--arms", ""], "no arm ''; the nearest of"),
        ([*SMOKE, "--folds", ""], "--folds : write numbers"),
        ([*SMOKE, "--out", "/proc/x"], "/proc: cannot be written to (No such file or directory)"),
        (["run", "biomarkers", "--control", "--size", "full"], "--size is not for --control, whi"),
        (["run", "biomarkers", "--control", "--set", "a=1"], "--set is not for --control, which"),
        (["run", "biomarkers", "--plan", "2x2", "--data", "nosuch"], "--data is not for --plan; r"),
        (["run", "classify", "--plan", "2x2", "--label", "nope"], "--label is not for --plan; re"),
        (["watch", "--grafana", "d", "nowhere"], "FOLDER is not for --grafana; remove it"),
        (["watch", "nowhere", "--once", "--terminal"], "--terminal is not for a grid that is pri"),
        (["watch", "nowhere", "--once", "--page"], "--page is not for a grid that is printed on"),
        (["ingest"], "Missing argument 'SOURCE'"),
        (["ingest", "phantom"], "no STORE given; write 'lus ingest phantom STORE'"),
        (["ingest", "folder"], "no STORE given; write 'lus ingest folder ROOT STORE'"),
        (["ingest", "floppy"], "no source 'floppy'; the nearest of 6 names are 'folder'"),
        (["ingest", "covid_blue", "a", "b"], "; did you mean 'covid_blues'?"),
        (["ingest", "folder", "nowhere", "b"], "nowhere"),
        (["ingest", "folder", "a", "s", "--max-side", "0"], "0 is not in the range x>=1"),
        (["ingest", "folder", "a", "s", "--video-labels", "1"], "--video-labels is for phantom"),
        (["ingest", "covid_blues", "a", "b", "--patients", "3"], "for phantom clips only"),
        (["ingest", "covid_blues", "a"], "no STORE given"),
        (["ingest", "folder", "nowhere", "--init"], "no such folder"),
        (["ingest", "folder", "a", "b", "--init"], "lus ingest folder ROOT --init"),
        (["ingest", "pocovid", "a", "--init"], "lus ingest folder ROOT --init"),
        (["ingest", "folder", "a", "--patient-folders"], "--patient-folders is for --init"),
        (["ingest", "phantom", "a", "b"], "write 'lus ingest phantom STORE'"),
        (["ingest", "phantom", "s", "--workers", "-1"], "-1 is not in the range x>=1"),
        (["ingest", "phantom", "s", "--max-side", "512"], "--max-side is for sources of files"),
        (["ingest", "phantom", "s", "--labels", "l.csv"], "--labels is for sources of files only"),
        (["ingest", "phantom", "s", "--allow-text"], "--allow-text is for sources of files only"),
        (["ingest", "phantom", "s", "--missing-patient", "own"], "--missing-patient is for sourc"),
        (["ingest", "phantom", f"{ROOT}/README.md/s"], "README.md: is a file; give STORE a"),
        (["check", "nowhere"], "nowhere"),
        (["check", f"{ROOT}/README.md"], "README.md: a file, not a store; make a store with"),
        (["check", "s3://"], "s3://: names no bucket; write s3://bucket/folder"),
        (["ingest", "phantom", "s", "--world", "marks"], "has no option --world; remove it"),
        (["report", "nowhere"], "nowhere"),
        (["serve", "r", "--port", "99999"], "99999 is not in the range 1<=x<=65535"),
        (["watch", "r", "--port", "65536"], "65536 is not in the range 0<=x<=65535"),
        (["weights", "vgg"], "vgg"),
        (["bench", "uninorm", "--out", "nowhere/b.json"], "name a file in an existing folder"),
        (["bench", "uninorm", "--out", f"{ROOT}/tests"], "name a file in an existing folder"),
    ],
)
def test_bad_input_is_one_line_before_any_work(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = lus(*words)
    assert_one_line(done, message)
    assert done.stdout == ""
    assert not (tmp_path / "b").exists(), "a store that will not be"


@pytest.mark.parametrize("text", ["abc", "-1", "nan"])
def test_a_wrong_interval_of_states_is_refused_before_a_run(text, tmp_path, monkeypatch):
    monkeypatch.setenv("LUS_STATE_SECONDS", text)
    done = lus(*SMOKE, "--out", tmp_path / "o")
    assert_one_line(done, f"lus: LUS_STATE_SECONDS={text}: not a number of seconds; give one")
    assert not (tmp_path / "o").exists()


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
        pass

    @group.command()
    def write():
        raise OSError(number, os.strerror(number), "clips")

    assert_one_line(CliRunner().invoke(group, ["write"]), message, exit_code=exit_code)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("run", "lus: interrupted; run the same command again to resume\n"),
        ("ingest", "lus: interrupted\n"),
    ],
)
def test_an_interrupted_command_promises_to_resume_only_where_it_does(name, message):
    @click.command(name)
    def command():
        raise KeyboardInterrupt

    done = CliRunner().invoke(cli.Lus(commands=[command]), [name])
    assert (done.exit_code, done.output) == (130, message)


@pytest.mark.slow
def test_a_report_is_printed_also_where_it_cannot_be_written(tmp_path):
    baseline = arm("e2e")
    write_cell(write_run(tmp_path, [baseline]), baseline, 0)
    (tmp_path / "report.json").mkdir()
    done = lus("report", tmp_path)
    assert "e2e" in done.stdout
    assert "report: " not in done.stdout
    assert_one_line(done, "report.json")
    (tmp_path / "report.json").rmdir()
    assert lus("report", tmp_path).stdout.endswith(f"report: {tmp_path / 'report.html'}\n")


def test_findings_are_printed_also_where_their_page_cannot_be_written(phantom_store, tmp_path):
    shutil.copytree(phantom_store, tmp_path / "s")
    (tmp_path / "s" / "check.html").mkdir()
    done = lus("check", tmp_path / "s")
    assert "24 patients" in done.stdout
    assert "contact sheet" not in done.stdout
    assert_one_line(done, "check.html")


def test_external_clips_are_looked_for_before_anything_is_trained(phantom_store, tmp_path):
    done = lus("run", "dense_labels", "--smoke", "--data", phantom_store, "--out", tmp_path / "o",
               "--over", tmp_path / "nowhere")  # fmt: skip
    assert_one_line(done, "nowhere: no clips here")
    assert not (tmp_path / "o").exists()


def test_the_published_weights_are_listed():
    assert "resnet18-imagenet" in json.loads(lus("weights", "--json").stdout)


def test_ingest_and_check_answer_in_json_and_a_damaged_shard_is_named(tmp_path):
    summary = lus("ingest", "phantom", tmp_path / "s", *PHANTOM, "--json")
    assert json.loads(summary.stdout)["num_clips"] == 3
    assert json.loads(lus("check", tmp_path / "s", "--json").stdout)["num_clips"] == 3
    assert (tmp_path / "s" / "check.html").is_file()
    (shard,) = (tmp_path / "s" / "clips").glob("*.parquet")
    cut = shard.with_name("phantom-00001.parquet")
    cut.write_bytes(shard.read_bytes()[:-20])
    manifest = tmp_path / "s" / "store.json"
    manifest.write_text(
        json.dumps({**json.loads(manifest.read_text()), "shards": [shard.name, cut.name]})
    )
    done = lus("check", tmp_path / "s")
    assert done.exit_code == 1
    assert cut.name in done.output


@pytest.mark.slow
def test_the_summary_ends_with_what_was_skipped_and_strict_makes_it_an_error(tmp_path):
    root, store = tmp_path / "root", tmp_path / "new" / "store"
    ingest = ("ingest", "folder", root, store, "--workers", 1)
    root.mkdir()
    for number in range(3):
        Image.new("L", (64, 48), 60 * number).save(root / f"{number}.png")
    (root / "gone.png").symlink_to("nowhere.png")
    rows = "".join(f"{number}.png,{number}\n" for number in (0, 1, 7))
    (root / "labels.csv").write_text(f"file,patient\n{rows}")
    strict = lus(*ingest, "--strict")
    assert strict.exit_code == 2
    assert strict.stderr.splitlines()[-1] == (
        "lus: skipped 2 of 5 files and 1 table row; nothing is stored, as --strict is given"
    )
    assert "  2.png: labels.csv has no row for this file" in strict.stderr.splitlines()
    assert not store.parent.exists()
    done = lus(*ingest)
    first, *_, last = done.stdout.splitlines()
    assert first.startswith("folder: stored 2 clips of 2 patients, 2 frames in ")
    assert last == f"skipped 2 of 5 files and 1 table row: see {store}/ledger.jsonl"
    assert "skipped     1 x labels.csv has no row for this file" in done.stdout
    before = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    assert lus(*ingest, "--strict", "--max-side", 20).exit_code == 2
    assert {path: path.read_bytes() for path in store.rglob("*") if path.is_file()} == before
    (root / "gone.png").unlink()
    (root / "labels.csv").write_text(f"file,patient\n{rows.replace('7', '2')}")
    done = lus(*ingest, "--strict", "--json")
    summary = json.loads(done.stdout)
    assert (summary["num_clips"], summary["num_files"], summary["reasons"]) == (3, 4, [])
    assert summary["ledger"] == f"{store}/ledger.jsonl"


@pytest.mark.slow
def test_a_store_in_a_bucket_is_made_and_checked(bucket, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    uri = bucket.uri("clips")
    assert lus("ingest", "phantom", f"{uri}/", *PHANTOM).exit_code == 0
    assert store.read_index(uri).num_rows == 3
    done = lus("check", uri)
    assert "3 clips, 6 frames" in done.output
    assert "contact sheet: check-clips.html" in done.output
    assert [path.name for path in tmp_path.iterdir()] == ["check-clips.html"]
    (shard,) = paths.list_files(paths.join(uri, "clips"))
    filesystem, path = paths.open_filesystem(shard)
    with filesystem.open_input_file(path) as file:
        data = file.read()
    with filesystem.open_output_stream(path) as file:
        file.write(data[:-20])
    assert_one_line(lus("check", uri), "none of 1 shards can be read")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["check", "s3://{}/nothing"], "no clips here; make a store with 'lus ingest"),
        (["check", "s3://key:secret@lung/x"], "a URI may hold no keys"),
        (["check", "cloud://lung/x"], "cloud://lung/x: no storage that can be opened"),
        (["run", "biomarkers", "--data", "s3://key:secret@lung/x"], "a URI may hold no keys"),
        (["ingest", "folder", "s3://{}/raw", "clips"], "download it first"),
    ],
)
def test_a_bad_uri_is_one_line_without_its_keys(bucket, words, message):
    done = lus(*(word.format(bucket.name) for word in words))
    assert_one_line(done, message)
    assert "secret" not in done.output


@pytest.mark.ray
def test_the_doctor_finds_this_machine_sound(ray_cluster, monkeypatch):
    monkeypatch.chdir(ROOT)
    done = lus("doctor", "--json")
    assert done.exit_code == 0, done.output
    names = {finding["what"] for finding in json.loads(done.stdout)["findings"]}
    assert {"Python", "memory", "disk", "Ray cluster", "plan smoke"} <= names
