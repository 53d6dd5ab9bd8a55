"""`lus watch`: the grid live on a terminal beside its web page, or once as plain text or JSON."""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lus_ray.errors import LusError
from lus_ray.monitoring.run_state import RunReader
from lus_ray.monitoring.states import MARKS, STATES, ArmRow, CellState, RunGrid
from lus_ray.monitoring.web_page import PageServer
from lus_ray.runs.cell import Cell

COLOURS = {
    "finished": "green", "running": "bold cyan", "waiting": "dim", "blocked": "yellow",
    "failed": "bold red", "interrupted": "magenta",
}  # fmt: skip
REFRESH_S = 2.0
NUM_ERRORS, NUM_MESSAGES = 5, 3


def show_run(
    reader: RunReader, *, host: str, port: int, where: str | None, once: bool, as_json: bool,
    echo: Callable[[str], None],
) -> None:  # fmt: skip
    """Show a run until Ctrl-C on a page and the terminal, or only `where` ("page", "terminal").

    Prints the grid once with `once` or `as_json`, or without a terminal if only that is wanted.
    """
    console = Console(highlight=False)
    if as_json or once or (where == "terminal" and not console.is_terminal):
        grid = reader.read()
        echo(json.dumps(grid.contents(), indent=1) if as_json else format_grid(grid))
        return
    try:
        with ExitStack() as stack:
            if where != "terminal":
                server = stack.enter_context(PageServer(reader, host=host, port=port))
                echo(f"page: {server.url}")
            if console.is_terminal and where != "page":
                _show_live(_tolerant_read(reader), console)
            else:
                threading.Event().wait()
    except KeyboardInterrupt:
        echo("")


def format_grid(grid: RunGrid) -> str:
    """The whole grid as plain lines: a header, one line per arm, then the errors."""
    width = max((len(arm.name) for arm in grid.arms), default=0)
    columns = [
        max(len(title), *(len(_format_cell(a.cells[n], grid.now)) for a in grid.arms))
        for n, title in enumerate(grid.columns)
    ]
    heads = [title.ljust(column) for title, column in zip(grid.columns, columns, strict=True)]
    lines = [*_header(grid), "", "  ".join([" " * width, *heads]).rstrip()]
    for arm in grid.arms:
        pairs = zip(arm.cells, columns, strict=True)
        cells = [_format_cell(cell, grid.now).ljust(column) for cell, column in pairs]
        lines.append("  ".join([arm.name.ljust(width), *cells]).rstrip())
    return "\n".join([*lines, *_errors(grid, most=None)])


def format_duration(seconds: float) -> str:
    """7 s, 3:20 or 1:02:03."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    if not hours:
        return f"{rest // 60}:{rest % 60:02d}"
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"


def select_rows(arms: Sequence[ArmRow], most: int) -> tuple[ArmRow, ...]:
    """At most so many arms in their order, preferring those with running or failed cells."""
    waiting = STATES.index("waiting")

    def urgency(arm: ArmRow) -> int:
        return min((min(STATES.index(cell.state), waiting) for cell in arm.cells), default=waiting)

    order = sorted(range(len(arms)), key=lambda n: (urgency(arms[n]), n))
    return tuple(arms[n] for n in sorted(order[:most]))


def _tolerant_read(reader: RunReader) -> Callable[[], RunGrid]:
    """Reads the run; returns the last grid while its storage cannot be reached."""
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


def _show_live(read: Callable[[], RunGrid], console: Console) -> None:
    def screen() -> Group:
        return _screen(read(), console.size.height)

    with Live(screen(), console=console, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            time.sleep(REFRESH_S)
            live.update(screen(), refresh=True)


def _header(grid: RunGrid) -> Iterator[str]:
    yield f"{grid.title} ({grid.size})" if grid.size else grid.title
    counts = [f"{MARKS[s]} {grid.counts[s]} {s}" for s in STATES if grid.counts.get(s)]
    yield f"{grid.counts.get('finished', 0)} of {grid.num_cells} cells:  {'   '.join(counts)}"
    yield "   ".join(_progress(grid))


def _progress(grid: RunGrid) -> Iterator[str]:
    campaign = grid.campaign
    yield {
        "running": f"running on {campaign.host or 'an unknown host'}",
        "gone": "its driver is gone; run the same command again to resume",
        "finished": "finished",
        "failed": "ended with failed cells; run the same command again to retry them",
        "interrupted": "interrupted; run the same command again to resume",
        "unknown": "no status of a driver (campaign.json)",
    }[campaign.state]
    if grid.elapsed_s is not None:
        elapsed = format_duration(grid.elapsed_s)
        yield f"{elapsed} so far" if campaign.is_live else f"after {elapsed}"
    if grid.left_s is not None:
        yield f"about {format_duration(grid.left_s)} left"
    if campaign.dashboard and campaign.is_live:
        yield f"Ray dashboard: {campaign.dashboard}"


def _format_cell(cell: CellState, now: float) -> str:
    parts = [MARKS[cell.state]]
    if cell.state == "failed":
        return f"{MARKS[cell.state]} failed"
    if cell.state in ("running", "interrupted") and (cell.planned or cell.num_epochs):
        parts.append(f"{cell.num_epochs}/{cell.planned}" if cell.planned else str(cell.num_epochs))
    if cell.samples and cell.state != "finished":
        parts.append(f"sample {cell.samples[0]}/{cell.samples[1]}")
    if cell.score is not None and cell.state != "waiting":
        parts.append(f"{cell.score:.3f}")
    if cell.seconds is not None:
        parts.append(format_duration(cell.seconds))
    elif cell.state == "running" and cell.since is not None:
        parts.append(format_duration(max(0.0, now - cell.since)))
    return " ".join(parts)


def _errors(grid: RunGrid, *, most: int | None) -> list[str]:
    failed = [
        f"✗ {Cell(arm.name, cell.fold, seed=cell.seed).name}: {cell.error}"
        for arm in grid.arms
        for cell in arm.cells
        if cell.state == "failed" and cell.error
    ]
    if most is not None and len(failed) > most:
        failed = [*failed[:most], f"and {len(failed) - most} more"]
    return [""] * bool(failed) + failed


def _screen(grid: RunGrid, height: int) -> Group:
    heads = list(_header(grid))
    errors = _errors(grid, most=NUM_ERRORS)
    messages = [text for _, text in grid.campaign.messages[-NUM_MESSAGES:]]
    num_rows = max(1, height - len(heads) - len(errors) - len(messages) - 4)
    rows = select_rows(grid.arms, num_rows)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True, overflow="ellipsis", ratio=1)
    for title in grid.columns:
        table.add_column(title, no_wrap=True, overflow="ellipsis", header_style="dim")
    for arm in rows:
        cells = [Text(_format_cell(cell, grid.now), COLOURS[cell.state]) for cell in arm.cells]
        table.add_row(Text(arm.name), *cells)
    num_hidden = len(grid.arms) - len(rows)
    hidden = [f"and {num_hidden} more arms; the page shows all"] * bool(num_hidden)
    lines = [Text(line, overflow="ellipsis", no_wrap=True) for line in heads]
    below = [
        Text(line, overflow="ellipsis", no_wrap=True) for line in (*hidden, *errors, *messages)
    ]
    return Group(*lines, Text(""), table, *below)
