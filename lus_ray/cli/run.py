"""`lus demo`, `lus run` and `lus report`: an experiment on data, and its table."""

import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click

from lus_ray.cli.control import run_control
from lus_ray.cli.evaluate import evaluate_store
from lus_ray.cli.options import (
    AT_LEAST_ONE,
    FOLDER,
    NOT_NEGATIVE,
    PATH_OR_URI,
    SIZES,
    refuse_options,
    refuse_unwritable,
)  # fmt: skip
from lus_ray.cli.output import echo_result
from lus_ray.cli.study_help import StudyCommand
from lus_ray.errors import InputError
from lus_ray.monitoring.phase_log import PhaseLog

COUNTED = ("arms", "folds", "seeds", "settings", "address")
PLANNED = ("experiment", "plan", "size", "smoke", *COUNTED)
"""What a plan takes of `lus run`."""

SEED = "Of phantom clips, folds and training; another one repeats the experiment."


@click.command()
@click.option("--out", type=FOLDER, default=Path("runs/demo"), show_default=True)
@click.option("--seed", type=NOT_NEGATIVE, default=0, show_default=True, help=SEED)
@click.option("--json", "as_json", is_flag=True, help="Print the report's contents as JSON.")
def demo(out: Path, seed: int, as_json: bool) -> None:
    """Make phantom clips, run the biomarkers study in demo size, and say what it found.

    It takes about two minutes on two cores. Repeat it to resume.
    """
    began = time.monotonic()

    def show(report: Any) -> str:
        from lus_ray.report import first_run

        return first_run.render(report.contents, out, seconds=time.monotonic() - began)

    _run("biomarkers", out, "demo", seed=seed, as_json=as_json, show=show)


@click.command(cls=StudyCommand)
@click.argument("experiment", metavar="STUDY")
@click.option(
    "--data",
    type=PATH_OR_URI,
    help="A store or its URI; small sizes make phantom clips without one.",
)
@click.option(
    "--out", type=PATH_OR_URI, help="Run folder or its URI (default runs/STUDY[-LABEL]-SIZE)."
)
@click.option(
    "--label", metavar="NAME",
    help="classify: the label to predict, built in or of the store's own (default: its only one).",
)  # fmt: skip
@click.option(
    "--size", type=click.Choice(SIZES),
    help="How much of the study to run (default full, as published); 'lus run STUDY --help' says "
    "what each means.",
)  # fmt: skip
@click.option("--smoke", is_flag=True, help="The same as --size smoke.")
@click.option(
    "--control", is_flag=True,
    help="Test the method instead, on simulated clips on which the paper's claim is true and on "
    "others on which it is not; exits with 1 if it fails.",
)  # fmt: skip
@click.option(
    "--broken", metavar="WAY", help="With --control: break the method on purpose; it has to fail."
)
@click.option("--arms", help="Only these arms and what they need: A,B or 'SVM*'.")
@click.option("--folds", help="Only these folds: 0,1")
@click.option("--seed", type=NOT_NEGATIVE, help=SEED)
@click.option(
    "--seeds", type=AT_LEAST_ONE,
    help="Train every cell with this many seeds; intervals then include them. Repeat the command "
    "with a larger number to add seeds (default 1, or those of the run folder).",
)  # fmt: skip
@click.option("--samples", type=AT_LEAST_ONE, help="Search hyperparameters with this many samples.")
@click.option(
    "--splits",
    help="Use other folds: 'published' for frame_scores and video_scores, or a JSON file like "
    "folds.json.",
)
@click.option(
    "--weights",
    help="Initialise matching networks from a weights file, a checkpoint folder, or published "
    "weights: a NAME of 'lus weights', or NAME=FILE where it cannot be downloaded. Or from "
    "several: LEFT=WEIGHTS,LEFT=WEIGHTS, where LEFT is an arm, a network (unetpp) or an encoder "
    "(resnet50).",
)
@click.option(
    "--domains", help="Names of the compared domains in the store, in the experiment's order: A,B"
)
@click.option("--weak", is_flag=True, help="Give frames without a score the score of their clip.")
@click.option(
    "--over", type=PATH_OR_URI, multiple=True, help="Also segment example clips of this store."
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    help="Change a setting: arm.recipe.epochs=3; it is recorded.",
)
@click.option(
    "--plan", metavar="WHERE",
    help="Print workers and GPUs of every arm, and run nothing: on this 'cluster' (see --address), "
    "or on nodes with so many GPUs each, such as 4x2.",
)  # fmt: skip
@click.option("--tensorboard", is_flag=True, help="Also write OUT/tensorboard.")
@click.option(
    "--dashboard", is_flag=True,
    help="Also start Ray's dashboard, for this machine alone, and print its address. Every network "
    "then trains in a process named for its arm and fold, which takes some seconds to start.",
)  # fmt: skip
@click.option(
    "--address", envvar="RAY_ADDRESS",
    help="A running Ray cluster: auto, host:6379 or ray://host:10001 (default RAY_ADDRESS).",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the report's contents as JSON.")
def run(
    experiment: str, out: Path | str | None, size: str | None, smoke: bool, control: bool,
    broken: str | None, plan: str | None, **options: Any,
) -> None:  # fmt: skip
    """Run the unfinished cells of a study and print its table; repeat it to resume."""
    if control:
        run_control(experiment, out, broken, options)
        return
    if broken is not None:
        raise InputError("--broken is for --control; add it, or remove --broken")
    if smoke and size not in (None, "smoke"):
        raise InputError(f"--smoke means --size smoke; remove it, or --size {size}")
    size = "smoke" if smoke else size or "full"
    if plan is not None:
        refuse_options("--plan", lambda name: name not in PLANNED)
        from lus_ray.orchestration import studies

        studies.refuse_unknown(experiment)
        if plan != "cluster" and not re.fullmatch(r"[1-9]\d*x\d+", plan):
            raise InputError(f"--plan {plan}: write 'cluster', or nodes and GPUs of each like 4x2")
        with PhaseLog(partial(click.echo, err=True), "counting the steps of the networks ..."):
            from lus_ray.orchestration.plan_table import plan_study  # imports Ray and torch

            table = plan_study(experiment, size, plan, **{n: options[n] for n in COUNTED})
        echo_result(table)
        return
    from lus_ray.orchestration.studies import default_out

    _run(experiment, out or default_out(experiment, size, options["label"]), size, **options)


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=PATH_OR_URI)
@click.option("--out", type=FOLDER, help="Also write the comparison of several runs there.")
@click.option(
    "--pack", is_flag=True,
    help="Also write RUN/pack: a model card and the items of TRIPOD+AI, filled from the run as far "
    "as it records them; the rest is listed as open. It names no patient, file or path.",
)  # fmt: skip
@click.option(
    "--external", type=PATH_OR_URI, multiple=True,
    help="First test the models of the run on this store, as 'lus evaluate' does; the report shows "
    "every such test in RUN/evaluations.",
)  # fmt: skip
@click.option(
    "--where", "conditions", multiple=True, metavar="COLUMN=VALUE",
    help="With --external, only clips with this value, such as probe=linear.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the report's contents as JSON.")
def report(
    runs: tuple[Path | str, ...], out: Path | None, pack: bool, external: tuple[Path | str, ...],
    conditions: tuple[str, ...], as_json: bool,
) -> None:  # fmt: skip
    """Write the report of a run folder (or URI) again and print it.

    Several runs of one study are printed side by side, and their folders are left as they are.
    """
    from lus_ray.runs.layout import open_for_reading

    if conditions and not external:
        raise InputError("--where: chooses clips of --external STORE; name one")
    if external and (len(runs) > 1 or isinstance(runs[0], str)):
        raise InputError(
            "--external: tests one run on this machine; name one RUN that is not a URI"
        )
    for store in external:
        evaluate_store(runs[0], store, conditions=conditions, quiet=True)

    if len(runs) > 1 and pack:
        raise InputError("--pack: describes one run; name one RUN")
    if len(runs) > 1:
        _compare(runs, out, as_json)
    elif out is not None:
        raise InputError("--out: the report of one run goes into its folder; leave it out")
    else:
        folder = open_for_reading(runs[0])
        written = _report(folder, as_json)
        if pack:
            _write_pack(folder, written.contents, as_json)


def _write_pack(folder: Any, contents: Any, as_json: bool) -> None:
    from lus_ray.report import pack as packs

    path = packs.write(contents, folder.path)
    folder.upload(packs.FOLDER)
    place = path if folder.mirror is None else f"{folder.display_name}/{packs.FOLDER}"
    click.echo(f"pack: {place}", err=as_json)


def _compare(locations: tuple[Path | str, ...], out: Path | None, as_json: bool) -> None:
    from lus_ray.report import comparison, terminal
    from lus_ray.runs.layout import open_for_reading

    if out is not None:
        refuse_unwritable(out, "--out")
    folders = [open_for_reading(location) for location in locations]
    short = [str(folder.display_name).rstrip("/").rpartition("/")[2] for folder in folders]
    names = short if len(set(short)) == len(short) else list(map(str, locations))
    if len(set(names)) < len(names):
        raise InputError(f"{names[0]}: named twice; name different runs")
    contents = comparison.read(
        {name: folder.path for name, folder in zip(names, folders, strict=True)}
    )
    document = comparison.compose(contents)
    text = terminal.render(document, colour=sys.stdout.isatty())
    click.echo(comparison.to_json(contents) if as_json else text)
    if out is not None:
        page = comparison.write(document, out)
        click.echo(f"report: {page}", err=as_json)


def _run(
    name: str, out: Path | str, size: str, *, as_json: bool = False,
    show: Callable[[Any], str] | None = None, **options: Any,
) -> None:  # fmt: skip
    from lus_ray.orchestration.early_checks import refuse_bad_places

    stores = [*options.get("over", ()), *filter(None, [options.get("data")])]
    refuse_bad_places(name, out, stores, address=options.get("address"))
    notify = partial(click.echo, err=True)
    with PhaseLog(notify, "loading PyTorch ..."):
        from lus_ray.api import runs

    output = _Output(as_json, show)
    runs.execute(name, out, size, output=output, notify=notify, **options)


def _report(folder: Any, as_json: bool) -> Any:
    from lus_ray.api import runs

    return runs.write_report(folder, _Output(as_json))


@dataclass(frozen=True)
class _Output:
    """Prints a report as JSON, or as text or what `render` makes of it, and then where it is."""

    as_json: bool
    render: Callable[[Any], str] | None = None

    def show(self, report: Any) -> None:
        colour = sys.stdout.isatty()
        render = self.render or (lambda report: report.text(colour=colour))
        echo_result(report.json() if self.as_json else render(report))

    def name_page(self, page: str) -> None:
        if not self.as_json and self.render is None:
            echo_result(f"report: {page}")
