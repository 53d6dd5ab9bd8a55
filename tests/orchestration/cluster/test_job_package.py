"""The upload of a job: the code alone, measured as Ray packs it."""

import os
import subprocess
import zipfile

import pytest
from ray._private import ray_constants
from ray._private.runtime_env.packaging import create_package

from lus_ray.orchestration import doctor
from lus_ray.orchestration.cluster.ray_private import measure_job_upload
from tests.orchestration.cluster.project import ROOT, clone

NOT_UPLOADED = (
    "runs/demo/predictions/prior/fold0.parquet",
    "runs/demo/cells/prior/fold0/checkpoint/weights.safetensors",
    "runs/demo/report.html",
    "clips/covid_blues/clips/part0.parquet",
    "data/clip.mp4",
    "results/predictions/fold0.parquet",
    "results/weights.safetensors",
    "my_clips/one.dcm",
    ".venv/bin/python",
    ".git/objects/pack/one.pack",
    ".mypy_cache/one.json",
    "lus_ray/__pycache__/clip.pyc",
    "lus_ray.egg-info/SOURCES.txt",
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with code, clips, runs, and an environment that Ray never packs."""
    sizes = {"code.py": 1000, "clips/a.parquet": 5000, "runs/r/w.bin": 4000, ".venv/lib.so": 9000}
    for name, size in sizes.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(bytes(size))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_sum_is_what_ray_packs_without_ignored_files(folder, tmp_path_factory):
    assert measure_job_upload(folder)[0] == {"code.py": 1000, "clips": 5000, "runs": 4000}
    (folder / ".rayignore").write_text("/clips/\n")
    (folder / ".gitignore").write_text("/runs/\n")
    num_bytes, is_complete = measure_job_upload(folder)
    assert is_complete
    assert set(num_bytes) == {"code.py", ".rayignore", ".gitignore"}
    package = tmp_path_factory.mktemp("package") / "package.zip"
    excludes = ray_constants.get_runtime_env_default_excludes()
    create_package(str(folder), package, include_gitignore=True, excludes=excludes)
    with zipfile.ZipFile(package) as archive:
        packed = sum(entry.file_size for entry in archive.infolist())
    assert num_bytes.total() == packed > 1000


def test_the_doctor_reports_uploads_that_are_too_large(folder, monkeypatch):
    assert doctor._check_upload().level == "ok"
    with (folder / "clips/a.parquet").open("wb") as file:
        file.truncate(doctor.MAX_UPLOAD_BYTES + 1)
    check = doctor._check_upload()
    assert check.level == "fail"
    assert "clips (100 MiB)" in check.remedy
    monkeypatch.setattr("lus_ray.orchestration.cluster.ray_private.MAX_UPLOAD_FILES", 2)
    check = doctor._check_upload()
    assert check.level == "fail"
    assert "more than 2 files" in check.result


LOOPBACK, REACHABLE = "127.0.0.1:8265", "10.0.0.7:8265"


@pytest.mark.parametrize(
    ("dashboard", "mode", "level"),
    [(LOOPBACK, "", "ok"), (None, "", "ok"), (REACHABLE, "", "fail"), (REACHABLE, "token", "note")],
)
def test_the_doctor_reports_a_dashboard_open_to_others(dashboard, mode, level, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", mode)
    assert doctor._check_dashboard(dashboard).level == level


def test_a_job_uploads_the_code_and_nothing_else(tmp_path):
    folder = clone(tmp_path / "clone")
    (folder / ".rayignore").write_text((ROOT / ".rayignore").read_text())
    for name in NOT_UPLOADED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(os.urandom(1 << 20))  # cannot be compressed
    package = tmp_path / "package.zip"
    create_package(str(folder), package, include_gitignore=True)
    assert package.stat().st_size < 10 << 20
    with zipfile.ZipFile(package) as archive:
        names = set(archive.namelist())
    assert names.isdisjoint(NOT_UPLOADED)
    listing = ["git", "ls-tree", "-r", "--name-only", "HEAD", "lus_ray", "experiments", "serve"]
    tracked = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True).stdout.split("\n")
    code = {name for name in tracked if name.endswith((".py", ".jinja", ".yaml", ".html"))}
    assert len(code) > 100
    assert code <= names
