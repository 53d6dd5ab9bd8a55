"""Fault runs: campaigns under which processes are killed at random moments.

python -m tests.orchestration.faults --runs 36
"""

import os
import tempfile
import time
from pathlib import Path

import click

from tests.orchestration.faults.outcome import table
from tests.orchestration.faults.runner import FAULTS, FaultRunner


@click.command()
@click.option("--runs", default=36, show_default=True)
@click.option("--seed", default=0, show_default=True, help="Of the first run.")
@click.option("--kinds", default=",".join(FAULTS), show_default=True)
@click.option("--patience", default=1.0, show_default=True, help="Times every limit.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where runs are kept.")
def main(runs: int, seed: int, kinds: str, patience: float, folder: Path | None) -> None:
    """Kill, run again, compare; one line a run and a table at the end."""
    folder = folder or Path(tempfile.mkdtemp(prefix="lus-faults-"))
    folder.mkdir(parents=True, exist_ok=True)
    runner, outcomes, names = FaultRunner(folder, patience=patience), [], kinds.split(",")
    for number in range(runs):
        outcomes.append(runner.run(names[number % len(names)], seed + number))
        load = os.getloadavg()[0]
        click.echo(f"{time.strftime('%H:%M')} load {load:4.1f}  {outcomes[-1].line()}")
        if outcomes[-1].last_line:
            click.echo(f"        {outcomes[-1].last_line[:160]}")
    click.echo(table(outcomes))
    raise SystemExit(any(outcome.violations for outcome in outcomes))


if __name__ == "__main__":
    main()
