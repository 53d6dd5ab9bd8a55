"""Waiting times of a first user: the help, and the demo.

Neither has a rival; both have limits in milliseconds. Every run is a process of its own; CPU
seconds leave out what Ray runs in the background.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from lus_ray.bench.measure import Comparison
from lus_ray.errors import LusError

HELP_MS, DEMO_MS = 300.0, 180_000.0


def compare(*, demo: bool = True) -> Iterator[tuple[str, Comparison]]:
    """The time of `lus --help` after an untimed start, and of one `lus demo`."""
    ours = partial(run, "--help", expected="doctor")
    yield "lus --help", Comparison(ours, target=HELP_MS, children=True)
    if demo:
        with tempfile.TemporaryDirectory(prefix="lus-bench-") as folder:
            ours = partial(
                run, "demo", "--out", str(Path(folder) / "demo"), expected="of this took"
            )
            yield ("lus demo", Comparison(ours, target=DEMO_MS, children=True, repeats=1, warmup=0))


def run(*arguments: str, expected: str) -> None:
    """Run `lus`; raise LusError, with its last line, if it fails or prints something else."""
    ended = subprocess.run(
        [sys.executable, "-m", "lus_ray.cli", *arguments], check=False, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    if ended.returncode or expected not in ended.stdout:
        last = ended.stdout.strip().rpartition("\n")[-1]
        raise LusError(
            f"demo: lus {arguments[0]} ended with code {ended.returncode} and {last!r}; "
            "run it by itself to see what is wrong"
        )
