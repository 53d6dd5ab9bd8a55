"""`lus evaluate`: the models of a run on the clips of another store."""

import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import click

from lus_ray import study_files
from lus_ray.cli.options import FOLDER, PATH_OR_URI, refuse_unwritable, study_option
from lus_ray.cli.output import echo_result
from lus_ray.errors import InputError


@click.command()
@click.argument("run", type=PATH_OR_URI)
@click.option("--data", type=PATH_OR_URI, required=True, help="A store of other patients.")
@click.option("--out", type=FOLDER, help="Evaluation folder (default RUN/evaluations/STORE).")
@click.option("--arms", help="Only these arms and what they read: A,B or 'SVM*'.")
@click.option(
    "--where", "conditions", multiple=True, metavar="COLUMN=VALUE",
    help="Only clips with this value, such as probe=linear.",
)  # fmt: skip
@study_option
@click.option("--json", "as_json", is_flag=True, help="Print the report's contents as JSON.")
def evaluate(
    run: Path | str, data: Path | str, out: Path | None, arms: str | None,
    conditions: tuple[str, ...], as_json: bool,
) -> None:  # fmt: skip
    """Test every model of RUN on clips of patients outside its training data.

    Patients of the run are left out by name first: by their names in any spelling, by equal pixels
    and by near copies of clips. The report sets external scores beside those of the run. Repeat
    the command to resume.
    """
    if out is not None:
        refuse_unwritable(out, "--out")
    result = evaluate_store(run, data, out, arms=arms, conditions=conditions, as_json=as_json)
    if not as_json:
        echo_result(f"report: {result.out / 'report.html'}")


def evaluate_store(
    run: Path | str, data: Path | str, out: Path | None = None, *, arms: str | None = None,
    conditions: tuple[str, ...] = (), as_json: bool = False, quiet: bool = False,
) -> Any:  # fmt: skip
    """Evaluate with progress on stderr; prints the report unless `quiet`."""
    from lus_ray.data.store import require_shards
    from lus_ray.runs.layout import require_record

    where = parse_conditions(conditions)
    if isinstance(run, Path):
        require_record(run)
    require_shards(data)
    click.echo(f"evaluating {run} on {data} ...", err=True)  # before slow imports
    from lus_ray.external_validation import evaluate as evaluate_run

    def show(report: Any) -> None:
        if not quiet:
            text = report.json() if as_json else report.text(colour=sys.stdout.isatty())
            echo_result(text)

    with show_models() as progress:
        return evaluate_run(
            run, data, out, arms=arms, where=where, show=show, progress=progress,
            command=format_command(run, data, arms, where), notify=partial(click.echo, err=True),
        )  # fmt: skip


def parse_conditions(conditions: tuple[str, ...]) -> dict[str, str]:
    pairs = [text.partition("=") for text in conditions]
    for text, (column, equals, value) in zip(conditions, pairs, strict=True):
        if not (column and equals and value):
            raise InputError(f"--where {text}: write COLUMN=VALUE, such as probe=linear")
    return {column: value for column, _, value in pairs}


def format_command(
    run: Path | str, data: Path | str, arms: str | None, where: Mapping[str, str]
) -> str:
    """The command that makes these predictions again, for a shell in any folder."""
    run, data = (p.resolve() if isinstance(p, Path) else p for p in (run, data))
    words = ["lus", "evaluate", str(run), "--data", str(data)]
    words += ["--arms", arms] if arms else []
    words += [word for file in study_files.loaded() for word in ("--study", str(file.path))]
    return shlex.join([*words, *(w for pair in where.items() for w in ("--where", "=".join(pair)))])


@contextmanager
def show_models() -> Iterator[Callable[[int, int, str], None]]:
    """A progress bar on stderr; the block gets the function that advances it."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("models", total=None)

        def show(done: int, total: int, name: str) -> None:
            bar.update(task, completed=done, total=total, description=f"{done} models; {name}")

        yield show
