"""Disks of the kind that end a run: one of 2 MB, and one that can be made read-only."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Disk:
    """A small filesystem in memory."""

    path: Path

    def fill(self) -> Path:
        """Leave no byte free; the file that takes them."""
        waste = self.path / "waste"
        with waste.open("wb", buffering=0) as file:
            try:
                while file.write(bytes(65536)):
                    pass
            except OSError:
                return waste
        raise AssertionError("a disk without an end")

    def read_only(self, now: bool = True) -> None:
        """Let nobody write, or let them again."""
        _run("mount", "-o", f"remount,{'ro' if now else 'rw'}", str(self.path))


@pytest.fixture
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Disk]:
    """A disk of 2 MB or of the parameter; skipped where mounting is not allowed."""
    size = getattr(request, "param", "2m")
    path = tmp_path / "disk"
    path.mkdir()
    try:
        _run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path))
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small disk is not allowed here")
    yield Disk(path)
    _run("umount", "-l", str(path))


@pytest.fixture
def small_disk(disk: Disk) -> Path:
    """The folder of a disk of 2 MB."""
    return disk.path


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
