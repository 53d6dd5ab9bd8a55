"""`lus watch`: the page and the terminal together, or the grid once."""

import json
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

from rich.console import Console

from lus_ray.errors import LusError
from lus_ray.monitoring import terminal
from lus_ray.monitoring.run_state import RunReader
from lus_ray.monitoring.states import RunGrid
from lus_ray.monitoring.web_page import PageServer


def show(
    reader: RunReader, *, host: str, port: int, where: str | None, once: bool, as_json: bool,
    say: Callable[[str], None],
) -> None:  # fmt: skip
    """Show a run until Ctrl-C, on a page and in the terminal, or only `where` ("page", "terminal").

    Once where asked to, and where the terminal is asked for and there is none.

    Raises:
        InputError: the page cannot listen there.
    """
    console = Console(highlight=False)
    if as_json or once or (where == "terminal" and not console.is_terminal):
        grid = reader.read()
        say(json.dumps(grid.contents(), indent=1) if as_json else terminal.text(grid))
        return
    try:
        _watch(reader, console, host=host, port=port, where=where, say=say)
    except KeyboardInterrupt:
        say("")


def _watch(
    reader: RunReader, console: Console, *, host: str, port: int, where: str | None,
    say: Callable[[str], None],
) -> None:  # fmt: skip
    with ExitStack() as stack:
        if where != "terminal":
            server = stack.enter_context(PageServer(reader, host=host, port=port))
            say(f"page: {server.url}")
        if console.is_terminal and where != "page":
            terminal.live(_patient(reader), console)
        else:
            threading.Event().wait()


def _patient(reader: RunReader) -> Callable[[], RunGrid]:
    """Reads again; the last grid while the folder cannot be read, as storage may be away."""
    last = reader.read()

    def read() -> RunGrid:
        nonlocal last
        try:
            last = reader.read()
        except (LusError, OSError) as error:
            print(f"lus: {error}; trying again", file=sys.stderr)
            time.sleep(1)
        return last

    return read
