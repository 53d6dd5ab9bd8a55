"""Types and checks that the options of several commands share."""

import errno
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from lus_ray.errors import InputError
from lus_ray.storage.writable import refuse_unwritable as refuse_unwritable


class PathOrUriType(click.ParamType):
    name = "path or URI"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Any:  # a Path, or the str of a URI
        from lus_ray.storage.paths import parse  # importing Arrow takes a while

        return parse(value) if isinstance(value, str) else value


PATH_OR_URI = PathOrUriType()

FOLDER = click.Path(path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
SIZES = ("smoke", "demo", "laptop", "full")
AT_LEAST_ONE, NOT_NEGATIVE = click.IntRange(min=1), click.IntRange(min=0)


def refuse_busy_port(host: str, port: int) -> None:
    """InputError where another program listens at an address; other problems show later."""
    try:
        address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(address[0], address[1]) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address[4])
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise InputError(
                f"port {port} of {host} is in use; stop the program there, or choose another --port"
            ) from None


def refuse_options(what: str, is_refused: Callable[[str], bool]) -> None:
    """InputError for a word of the current command that `what` has no use for.

    Words are recognised by the names of their parameters; defaults and variables do not count.
    """
    context = click.get_current_context()
    for param in context.command.params:
        name = param.name or ""
        if context.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
            continue
        word = param.human_readable_name
        if isinstance(param, click.Option):
            word = param.opts[0]
            if param.is_flag and context.params.get(name) != param.flag_value:
                continue  # another flag of the same name was given
        if is_refused(name):
            raise InputError(f"{word} is not for {what}; remove it")


def _load_study(ctx: click.Context, param: click.Parameter, value: Path | None) -> None:
    if value is not None:
        from lus_ray import study_files

        study_files.load(value)


study_option = click.option(
    "--study", type=FILE, expose_value=False, callback=_load_study,
    help="File of a study of your own, which its models need.",
)  # fmt: skip
"""Imports the file before the command; models name it by its hash."""
