"""Waiting times of a first user: the help, the import, the doctor, the demo.

None has a rival; help and demo have limits in milliseconds. Every run is a process of its own;
CPU seconds leave out what Ray runs in the background.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lus_ray.bench.measure import Comparison
from lus_ray.errors import LusError

LUS = ("-m", "lus_ray.cli")


@dataclass(frozen=True)
class Command:
    """Arguments of Python, expected output and exit codes; `slow` ones run once."""

    arguments: tuple[str, ...]
    expected: str
    limit_ms: float | None = None
    codes: tuple[int, ...] = (0,)
    slow: bool = False


def commands(folder: Path) -> dict[str, Command]:
    return {
        "lus --help": Command((*LUS, "--help"), "doctor", limit_ms=300),
        "import lus_ray": Command(("-c", "import lus_ray; print(lus_ray.__name__)"), "lus_ray"),
        # Code 1: it found a problem, which takes as long.
        "lus doctor": Command((*LUS, "doctor"), "torch", codes=(0, 1), slow=True),
        "lus demo": Command(
            (*LUS, "demo", "--out", str(folder / "demo")),
            "of this took",
            limit_ms=180_000,
            slow=True,
        ),
    }


def compare(
    *, slow: bool = True, of: Callable[[Path], Mapping[str, Command]] = commands
) -> Iterator[tuple[str, Comparison]]:
    """The time of each command, after an untimed start unless it is a slow one."""
    with tempfile.TemporaryDirectory(prefix="lus-bench-") as folder:
        for name, command in of(Path(folder)).items():
            if slow or not command.slow:
                ours = partial(run, name, command)
                own: dict[str, Any] = {"repeats": 1, "warmup": 0} if command.slow else {}
                yield name, Comparison(ours, target=command.limit_ms, children=True, **own)


def run(name: str, command: Command) -> None:
    """Run a command; raise LusError, with its last line, if it fails or prints something else."""
    ended = subprocess.run(
        [sys.executable, *command.arguments], check=False, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    if ended.returncode not in command.codes or command.expected not in ended.stdout:
        last = ended.stdout.strip().rpartition("\n")[-1]
        raise LusError(
            f"demo: {name} ended with code {ended.returncode} and {last!r}; "
            "run it by itself to see what is wrong"
        )
