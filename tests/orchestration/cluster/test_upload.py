"""What a job carries to the cluster: the code, and neither data, nor runs, nor environments."""

import os
import subprocess
import zipfile

import pytest
from ray._private.runtime_env.packaging import create_package

from tests.orchestration.cluster.clone import clone
from tests.orchestration.cluster.onpremises import ROOT

MIB = 1 << 20


@pytest.fixture(scope="module")
def uploaded(tmp_path_factory):
    """Names in the package that Ray makes of a clone somebody has worked in, and its size."""
    folder = clone(tmp_path_factory.mktemp("clone"))
    (folder / ".rayignore").write_text((ROOT / ".rayignore").read_text())
    for name in FAT:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(os.urandom(2 * MIB))  # cannot be compressed
    package = tmp_path_factory.mktemp("package") / "package.zip"
    create_package(str(folder), package, include_gitignore=True)
    with zipfile.ZipFile(package) as archive:
        return set(archive.namelist()), package.stat().st_size


FAT = (
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


def test_a_clone_with_fat_runs_uploads_less_than_ten_mib(uploaded):
    _, size = uploaded
    assert size < 10 * MIB


def test_data_runs_environments_and_caches_stay_at_home(uploaded):
    names, _ = uploaded
    assert names.isdisjoint(FAT)


def test_everything_that_a_job_runs_is_uploaded(uploaded):
    names, _ = uploaded
    code = {
        str(path.relative_to(ROOT))
        for room in ("lus_ray", "experiments", "serve")
        for suffix in ("*.py", "*.jinja", "*.yaml", "*.html")
        for path in (ROOT / room).rglob(suffix)
    }
    tracked = code & set(tracked_files())
    assert len(tracked) > 100
    assert tracked <= names


def tracked_files():
    """Files of the last commit."""
    listed = subprocess.run(
        ["git", "ls-tree", "-r", "--name-only", "HEAD"], cwd=ROOT, capture_output=True, text=True
    )
    return listed.stdout.splitlines()
