"""Where and with which source a run was made; nothing that identifies a person or a host."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import torch

import lus_ray
from lus_ray.storage.child_process import count_cores

GIT_TIMEOUT_S = 10.0


@dataclass(frozen=True, kw_only=True)
class MachineRecord:
    """Cores that the process may use, memory of the machine, names of its GPUs."""

    cores: int
    memory_gb: float | None = None
    gpus: tuple[str, ...] = ()


def describe() -> MachineRecord:
    return MachineRecord(
        cores=count_cores(),
        memory_gb=_memory_gb(),
        gpus=tuple(torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())),
    )


def find_commit() -> str | None:
    """The commit of this source, marked where files differ from it; None outside its repository."""
    folder = Path(lus_ray.__file__).parent
    if _git(folder, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None  # installed into an environment that lies in some other repository
    return _git(folder, "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ("git", "-C", str(folder), *arguments),
            capture_output=True, text=True, timeout=GIT_TIMEOUT_S, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def _memory_gb() -> float | None:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None
    return round(size / 1e9, 1)
