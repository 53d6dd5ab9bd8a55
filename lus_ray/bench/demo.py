"""Waiting times of a first user: the help, the import, the doctor, the demo.

None has a baseline; help and demo have limits in milliseconds. Every run is a process of its own;
CPU seconds leave out what Ray runs in the background.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lus_ray.bench.measure import Comparison, compare_in_turn
from lus_ray.errors import LusError

LUS = ("-m", "lus_ray.cli")


@dataclass(frozen=True)
class Command:
    """Arguments of Python, expected output and exit codes; `once` if it is too slow to repeat."""

    arguments: tuple[str, ...]
    expected: str
    limit_ms: float | None = None
    codes: tuple[int, ...] = (0,)
    once: bool = False


def commands(folder: Path) -> dict[str, Command]:
    return {
        "lus --help": Command((*LUS, "--help"), "doctor", limit_ms=300),
        "import lus_ray": Command(("-c", "import lus_ray; print(lus_ray.__name__)"), "lus_ray"),
        # Code 1: it found a problem, which takes as long.
        "lus doctor": Command((*LUS, "doctor"), "torch", codes=(0, 1), once=True),
        "lus demo": Command(
            (*LUS, "demo", "--out", str(folder / "demo")),
            "of this took",
            limit_ms=180_000,
            once=True,
        ),
    }


def measure(
    repeats: int = 9, *, of: Callable[[Path], Mapping[str, Command]] = commands
) -> dict[str, Comparison]:
    """The time of each command, after an untimed start where there are repeats."""
    with tempfile.TemporaryDirectory(prefix="lus-bench-") as folder:
        return {
            name: compare_in_turn(
                partial(run, name, command),
                {},
                repeats=1 if command.once else repeats,
                warmup=0 if command.once else 1,
                target=command.limit_ms,
                children=True,
            )
            for name, command in of(Path(folder)).items()
        }


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
