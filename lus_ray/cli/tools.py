"""`lus weights`, `lus bench` and `lus doctor`: published weights, speed, this machine."""

import json
import sys
from functools import partial
from pathlib import Path

import click

from lus_ray.cli.options import FOLDER, refuse_unwritable
from lus_ray.errors import InputError, LusError


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print the names as JSON.")
def weights(name: str | None, as_json: bool) -> None:
    """Download the published weights NAME, check NAME=FILE, or list all names.

    Weights whose publisher gives no whole checksum are not downloaded: fetch the file by hand, and
    give it to 'lus run STUDY --weights NAME=FILE', which checks the known digits.
    """
    from lus_ray.nets.pretrained import published

    if name is None:
        known = {
            name: {"url": w.url, "sha256": w.sha256, "download": w.can_be_downloaded}
            for name, w in published.PUBLISHED.items()
        }
        lines = (
            f"{name:<22} {'download' if w['download'] else 'NAME=FILE':<9} {w['url']}"
            for name, w in known.items()
        )
        click.echo(json.dumps(known, indent=1) if as_json else "\n".join(lines))
        return
    published.get(name.partition("=")[0])  # a path alone is no name
    path = published.find(name)
    click.echo(json.dumps({"name": name, "path": str(path)}) if as_json else str(path))


@click.command()
@click.argument("names", nargs=-1)
@click.option(
    "--out",
    type=FOLDER,
    default="bench.json",
    show_default=True,
    help="File that the figures are written to.",
)
@click.option("--quick", is_flag=True, help="Smaller sizes and fewer repeats: three minutes.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def bench(names: tuple[str, ...], out: Path, quick: bool, as_json: bool) -> None:
    """Measure NAMES (default: all) as ratios against reference implementations."""
    from lus_ray import bench as benches
    from lus_ray.storage.files import write_text

    if out.is_dir() or not out.parent.is_dir():
        raise InputError(f"{out}: cannot be written; name a file in an existing folder")
    refuse_unwritable(out.parent, "--out")
    measured = benches.run(names, quick=quick, notify=partial(click.echo, err=True))
    text = json.dumps(measured.contents(), indent=1)
    click.echo(text if as_json else measured.text())
    write_text(out, text + "\n")
    if measured.refused:
        raise LusError("; ".join(measured.refused.values()))


@click.command()
@click.option("--address", envvar="RAY_ADDRESS", help="A running Ray cluster to check as well.")
@click.option("--job", is_flag=True, help="Check also what a job submitted here would upload.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(address: str | None, job: bool, as_json: bool) -> None:
    """Check what this machine can run, and how to fix what it cannot.

    The exit code is 1 only where something keeps lus from working here.
    """
    from lus_ray.orchestration import doctor as checks

    findings = checks.run_checks(address, job=job)
    click.echo(json.dumps(findings.contents(), indent=1) if as_json else findings.text())
    if findings.failed:
        sys.exit(1)
