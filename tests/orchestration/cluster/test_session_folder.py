"""Environments of batch systems and containers: Ray's session goes where it can be."""

import os
import stat
from pathlib import Path

import pytest

from lus_ray.errors import InputError
from lus_ray.orchestration import doctor
from lus_ray.orchestration.cluster import connection, session_folder
from lus_ray.orchestration.cluster.session_folder import choose_session_folder, find_home_problem

SLURM = "net/scratch/slurm_jobdir_1355700.head01.cluster.example.org/tmp.t0016"


@pytest.fixture
def short(tmp_path, monkeypatch):
    """A folder with a short path that stands for /tmp."""
    monkeypatch.delenv("TMPDIR", raising=False)
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    here = os.open(tmp_path, os.O_RDONLY)  # whatever the length of tmp_path
    folder = Path(f"/proc/{os.getpid()}/fd/{here}")
    monkeypatch.setattr(session_folder, "DEFAULTS", (folder,))
    yield folder
    os.close(here)


def lines():
    return [(check.level, check.result, check.remedy) for check in doctor._check_environment()]


@pytest.mark.parametrize("variable", ["TMPDIR", "RAY_TMPDIR"])
@pytest.mark.parametrize(
    ("name", "problem"),
    [
        (SLURM, "bytes long and may be 39, as Ray's sockets lie below it"),
        ("absent", "is not a folder"),
        ("file", "is not a folder"),
        ("grün", "has characters other than ASCII"),
    ],
)
def test_a_folder_that_cannot_hold_a_session_is_named_and_replaced(
    variable, name, problem, short, tmp_path, monkeypatch
):
    (tmp_path / SLURM).mkdir(parents=True)
    (tmp_path / "grün").mkdir()
    (tmp_path / "file").touch()
    value = str(tmp_path / name if name == SLURM else short / name)
    monkeypatch.setenv(variable, value)
    folder, note = choose_session_folder()
    assert folder == short / "ray"
    assert note.startswith(f"{variable}={value} ")
    assert problem in note
    assert note.endswith(f"Ray's session is in {short}")
    assert ("note", note, "set RAY_TMPDIR to choose another") in lines()


def test_a_usable_folder_is_taken_as_it_is_named(short, tmp_path, monkeypatch):
    (tmp_path / "my tmp").mkdir()
    monkeypatch.setenv("TMPDIR", f"{short}/my tmp")
    assert choose_session_folder() == (short / "my tmp" / "ray", "")
    monkeypatch.setenv("RAY_TMPDIR", str(short))
    assert choose_session_folder() == (short / "ray", "")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(session_folder, "MAX_BYTES", 4096)
    monkeypatch.setenv("RAY_TMPDIR", "my tmp")  # relative
    assert choose_session_folder() == (tmp_path / "my tmp" / "ray", "")


def test_a_full_disk_and_a_filesystem_without_sockets_are_named(short, monkeypatch):
    monkeypatch.setattr(session_folder, "MIN_FREE_BYTES", 1 << 60)
    with pytest.raises(InputError, match=r"is on a disk with \d+ MiB free; set RAY_TMPDIR to a"):
        choose_session_folder()
    monkeypatch.setattr(session_folder, "MIN_FREE_BYTES", 0)
    monkeypatch.setenv("RAY_TMPDIR", "/proc/self/net")
    _, note = choose_session_folder()
    assert "cannot hold Ray's sockets (" in note


def test_without_any_folder_nothing_starts_and_the_doctor_says_why(short, monkeypatch):
    monkeypatch.setattr(session_folder, "DEFAULTS", (Path("/nonexistent"),))
    monkeypatch.setenv("TMPDIR", "/absent")
    message = r"TMPDIR=/absent is not a folder; /nonexistent is not a folder; set RAY_TMPDIR"
    with pytest.raises(InputError, match=message) as refused, connection.connect(None):
        pass
    assert refused.value.exit_code == 2
    assert "\n" not in str(refused.value)
    (failed,) = [line for line in lines() if line[0] == "fail"]
    assert failed[1] == "TMPDIR=/absent is not a folder; /nonexistent is not a folder"
    assert failed[2].startswith("set RAY_TMPDIR to a folder of at most 39 bytes")


def test_the_doctor_reports_a_wrong_interval_of_states(monkeypatch):
    monkeypatch.setenv("LUS_STATE_SECONDS", "abc")
    (failed,) = [line for line in lines() if line[0] == "fail"]
    assert failed[1:] == ("LUS_STATE_SECONDS=abc: not a number of seconds", "give one, such as 60")


def test_a_home_that_cannot_hold_the_token_is_named_and_the_token_passed_on(monkeypatch):
    for name in (*connection.TOKEN_VARIABLES, "LUS_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/proc/none")
    assert find_home_problem().startswith("HOME=/proc/none cannot be written to (")
    found = [(level, result.split(" (")[0]) for level, result, _ in lines()]
    assert ("note", "HOME=/proc/none cannot be written to") in found
    assert ("note", "HOME=/proc/none cannot hold downloaded files") in found
    monkeypatch.setenv("RAY_AUTH_TOKEN", "")  # restored afterwards
    connection._ensure_token()
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64


def test_a_home_with_room_keeps_the_token(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "new"))
    assert find_home_problem() == ""
    assert stat.S_ISDIR((tmp_path / "new" / ".ray").stat().st_mode)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "")
    connection._ensure_token()
    assert os.environ["RAY_AUTH_TOKEN"] == ""
