"""Fault runs: campaigns under which processes are killed at random moments.

python -m tests.faults.campaign --runs 36
"""

import os
import tempfile
import time
from pathlib import Path

import click

from tests.faults.bed import KINDS, Bed
from tests.faults.outcome import table


@click.command()
@click.option("--runs", default=36, show_default=True)
@click.option("--seed", default=0, show_default=True, help="Of the first run.")
@click.option("--kinds", default=",".join(KINDS), show_default=True)
@click.option("--patience", default=1.0, show_default=True, help="Times every limit.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where runs are kept.")
def main(runs: int, seed: int, kinds: str, patience: float, folder: Path | None) -> None:
    """Kill, run again, compare; one line a run and a table at the end."""
    folder = folder or Path(tempfile.mkdtemp(prefix="lus-faults-"))
    folder.mkdir(parents=True, exist_ok=True)
    bed, outcomes, names = Bed(folder, patience=patience), [], kinds.split(",")
    for number in range(runs):
        outcomes.append(bed.run(names[number % len(names)], seed + number))
        load = os.getloadavg()[0]
        click.echo(f"{time.strftime('%H:%M')} load {load:4.1f}  {outcomes[-1].line()}")
        if outcomes[-1].said:
            click.echo(f"        {outcomes[-1].said[:160]}")
    click.echo(table(outcomes))
    raise SystemExit(any(outcome.wrong for outcome in outcomes))


if __name__ == "__main__":
    main()
