"""What a first user waits for: the help, the import, the doctor, the demo.

None has a rival; help and demo have limits in milliseconds. Every run is a process of its own,
from its start to its end. CPU seconds are those of processes that it waited for, which leaves out
what Ray runs in the background. Doctor and demo run once, the demo into a folder that is gone
afterwards.
What is checked: each ends with a code that says that it did its work, and says what it is for.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lus_ray.bench.measure import Measured, interleaved
from lus_ray.errors import LusError

NUM_STARTS = 9
LUS = ("-m", "lus_ray.cli")


@dataclass(frozen=True)
class Command:
    """Arguments of Python, words that its output has to hold, and a limit in milliseconds.

    `codes` are those with which it may end; `once` says that it takes too long for repeats.
    """

    arguments: tuple[str, ...]
    says: str
    limit_ms: float | None = None
    codes: tuple[int, ...] = (0,)
    once: bool = False


def commands(folder: Path) -> dict[str, Command]:
    """What is measured; the demo writes below the folder."""
    into = str(folder / "demo")
    return {
        "lus --help": Command((*LUS, "--help"), "doctor", limit_ms=300),
        "import lus_ray": Command(("-c", "import lus_ray; print(lus_ray.__name__)"), "lus_ray"),
        # 1 says that it found something to mend, which takes as long.
        "lus doctor": Command((*LUS, "doctor"), "torch", codes=(0, 1), once=True),
        "lus demo": Command(
            (*LUS, "demo", "--out", into), "demo took", limit_ms=180_000, once=True
        ),
    }


def measure(
    repeats: int = NUM_STARTS, *, of: Callable[[Path], Mapping[str, Command]] = commands
) -> dict[str, Measured]:
    """The time of each command, after one start that does not count where there are several.

    Raises:
        LusError: a command fails, or does not say what it should.
    """
    with tempfile.TemporaryDirectory(prefix="lus-bench-") as folder:
        return {
            name: interleaved(
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
    """Run a command to its end.

    Raises:
        LusError: it fails, or does not say what it should; with the last line that it said.
    """
    ended = subprocess.run(
        [sys.executable, *command.arguments], check=False, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    if ended.returncode not in command.codes or command.says not in ended.stdout:
        last = ended.stdout.strip().rpartition("\n")[-1]
        raise LusError(
            f"demo: {name} ended with code {ended.returncode} and said {last!r}; "
            "run it by itself to see what is wrong"
        )
