"""A disk of 2 MB that can be filled or made read-only."""

import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Disk:
    """A small filesystem in memory."""

    path: Path

    def fill(self) -> Path:
        """Write zeros to the returned file until no byte is free."""
        waste = self.path / "waste"
        with suppress(OSError), waste.open("wb", buffering=0) as file:
            while file.write(bytes(65536)):
                pass
        return waste

    def read_only(self, now: bool = True) -> None:
        """Make the disk read-only, or writable again."""
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
