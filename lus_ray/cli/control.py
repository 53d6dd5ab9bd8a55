"""`lus run STUDY --control`: does the method do what the paper claims, where the claim is true?"""

import sys
from pathlib import Path
from typing import Any

import click

from lus_ray.cli.options import refuse_options
from lus_ray.cli.output import echo_result
from lus_ray.errors import ControlError

ALLOWED = ("experiment", "control", "broken", "out", "seed", "address", "as_json")
"""What a control takes of `lus run`."""


def run_control(
    study: str, out: Path | str | None, broken: str | None, options: dict[str, Any]
) -> None:
    """Run the control and print its report; ControlError if a check fails."""
    refuse_options("--control, which has its own clips and settings", lambda n: n not in ALLOWED)
    from lus_ray.api import controls  # imports torch

    folder = out or controls.default_out(study, broken)
    result = controls.run_control(
        study, out=folder, seed=options["seed"] or 0, broken=broken, address=options["address"],
        notify=lambda text: click.echo(text, err=True),
    )  # fmt: skip
    if options["as_json"]:
        click.echo(result.to_json(), nl=False)
    else:
        echo_result(controls.to_text(result, colour=sys.stdout.isatty()))
        echo_result(f"report: {Path(folder) / 'control.html'}")
    if not result.works:
        failed = [check.text for check in result.checks if not check.passes]
        raise ControlError(
            f"the control of {study} fails in {len(failed)} of {len(result.checks)} checks; "
            f"see {Path(folder) / 'control.html'}"
        )
