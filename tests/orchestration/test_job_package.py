"""What a job would send is counted as Ray packs it, and too much of it is told with its names."""

import zipfile

import pytest
from ray._private import ray_constants
from ray._private.runtime_env.packaging import create_package

from lus_ray.orchestration import doctor
from lus_ray.orchestration.cluster import job_package


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A clone with code, clips, runs, and what Ray leaves out by itself."""
    sizes = {"code.py": 1000, "clips/a.parquet": 5000, "runs/r/w.bin": 4000, ".venv/lib.so": 9000}
    for name, size in sizes.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(bytes(size))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_the_ignore_files_name_stays_here(folder):
    assert job_package.sizes(folder)[0] == {"code.py": 1000, "clips": 5000, "runs": 4000}
    (folder / ".rayignore").write_text("/clips/\n")
    (folder / ".gitignore").write_text("/runs/\n")
    sent, ended = job_package.sizes(folder)
    assert ended
    assert set(sent) == {"code.py", ".rayignore", ".gitignore"}
    assert sent["code.py"] == 1000


def test_the_doctor_names_what_makes_an_upload_too_large(folder, monkeypatch):
    assert doctor._upload().level == "ok"
    with (folder / "clips/a.parquet").open("wb") as file:
        file.truncate(job_package.MAX_BYTES + 1)
    found = doctor._upload()
    assert found.level == "fail"
    assert "clips (100 MiB)" in found.remedy


def test_as_much_is_counted_as_ray_packs(folder, tmp_path_factory):
    (folder / ".rayignore").write_text("/clips/\n")
    package = tmp_path_factory.mktemp("package") / "package.zip"
    excludes = ray_constants.get_runtime_env_default_excludes()
    create_package(str(folder), package, include_gitignore=True, excludes=excludes)
    with zipfile.ZipFile(package) as archive:
        packed = sum(entry.file_size for entry in archive.infolist())
    assert job_package.sizes(folder)[0].total() == packed > 5000


def test_a_folder_of_very_many_files_is_not_counted_to_its_end(folder, monkeypatch):
    monkeypatch.setattr(job_package, "MAX_FILES", 2)
    assert not job_package.sizes(folder)[1]
    found = doctor._upload()
    assert found.level == "fail"
    assert "more than 2 files" in found.found


@pytest.mark.parametrize(
    ("dashboard", "mode", "level"),
    [
        ("127.0.0.1:8265", "", "ok"),
        (None, "", "ok"),
        ("10.0.0.7:8265", "", "fail"),
        ("10.0.0.7:8265", "token", "note"),
    ],
)
def test_a_dashboard_open_to_others_is_told(dashboard, mode, level, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", mode)
    assert doctor._listening(dashboard).level == level
