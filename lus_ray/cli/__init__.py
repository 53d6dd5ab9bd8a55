"""The `lus` command: it chooses what to run; the files of the experiments configure it.

Exit codes: 0 done, 1 something failed, 2 bad input, 130 interrupted, 141 nobody reads the output.
Why imports are inside the commands: `lus --help` answers at once, without torch or Ray.
"""

import errno
import os
import re
import signal
import sys
from typing import Any

import click

from lus_ray import __version__
from lus_ray.cli.data import check, ingest
from lus_ray.cli.evaluate import evaluate
from lus_ray.cli.output import drop_unread_output
from lus_ray.cli.predict import predict
from lus_ray.cli.run import demo, report, run
from lus_ray.cli.serve import serve, watch
from lus_ray.cli.tools import bench, doctor, weights
from lus_ray.errors import InputError, LusError
from lus_ray.loopback import exempt_from_proxies

BAD_PATH = (
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST,
)  # fmt: skip
"""System errors of a badly named path; a full disk is not one of them."""

RESUMED = ("demo", "evaluate", "run")
"""Commands that keep what they finished; the others begin again."""


class Lus(click.Group):
    """A group whose commands end with one line and an exit code when they fail."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().main(*args, **kwargs)
        finally:
            try:
                sys.stdout.flush()  # Python's own last flush would report a reader that has ended
            except BrokenPipeError:
                drop_unread_output()
                sys.exit(128 + signal.SIGPIPE)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:  # fmt: skip
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as error:
            if isinstance(error, click.exceptions.NoArgsIsHelpError):
                raise  # click prints the help
            _show_usage(error)
            sys.exit(error.exit_code)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except LusError as error:
            click.echo(f"lus: {' '.join(str(error).split())}", err=True)
            ctx.exit(error.exit_code)
        except click.UsageError as error:
            _show_usage(error)
            ctx.exit(error.exit_code)
        except OSError as error:
            if isinstance(error, BrokenPipeError) and drop_unread_output():
                ctx.exit(128 + signal.SIGPIPE)
            where = f"{error.filename}: " if error.filename else ""
            bad = error.errno in BAD_PATH
            remedy = (
                "; give a path that exists, has the right type and permits access" if bad else ""
            )
            click.echo(f"lus: {where}{error.strerror or error}{remedy}", err=True)
            ctx.exit(2 if bad else 1)
        except KeyboardInterrupt:
            remedy = "; run the same command again to resume" * (ctx.invoked_subcommand in RESUMED)
            click.echo(f"lus: interrupted{remedy}", err=True)
            ctx.exit(130)


def _show_usage(error: click.UsageError) -> None:
    command = error.ctx.command_path if error.ctx else "lus"
    message = " ".join(error.format_message().split()).rstrip(".")
    message = re.sub("a valid integer( range)?", "a whole number", message)
    see = " See" if message.endswith("?") else "; see"
    click.echo(f"lus: {message}{see} '{command} --help'", err=True)


@click.group(cls=Lus, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lus")
def main() -> None:
    """Lung-ultrasound experiments on Ray: from clips to the published table.

    For research use only; not a medical device.
    """
    exempt_from_proxies()
    try:
        os.getcwd()
    except OSError as error:
        raise InputError(
            f"the current folder is not usable ({error.strerror}); change to one that exists"
        ) from None


for command in (
    demo,
    ingest,
    check,
    run,
    report,
    evaluate,
    watch,
    serve,
    predict,
    weights,
    bench,
    doctor,
):
    main.add_command(command)
